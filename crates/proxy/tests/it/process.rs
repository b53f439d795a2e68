//! The process: killed and started again with the descriptors that its supervisor kept.

use crate::support::{Backend, LIMIT, Wire, anywhere, eventually, target};
use alcedo_proxy::control::{Client, Observed};
use alcedo_proxy::listen::ListenAddress;
use command_fds::{CommandFdExt, FdMapping};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

struct Running {
    child: Child,
    dir: PathBuf,
}

impl Running {
    /// Started like a supervisor does: a shell takes the process id that `LISTEN_PID` must say.
    fn start(dir: &Path, kept: Option<(&str, &OwnedFd)>, notify: Option<&Path>) -> Self {
        let mut command = Command::new("sh");
        let program = std::env::current_exe().unwrap();
        let program = program.ancestors().nth(2).unwrap().join("examples/proxy");
        command.arg("-c").arg("LISTEN_PID=$$ exec \"$@\"").arg("sh").arg(program);
        command.arg(dir).arg(dir.join("control")).env_remove("NOTIFY_SOCKET");
        if let Some(notify) = notify {
            command.env("NOTIFY_SOCKET", notify);
        }
        if let Some((name, fd)) = kept {
            command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", name);
            let parent_fd = fd.try_clone().unwrap();
            command.fd_mappings(vec![FdMapping { parent_fd, child_fd: 3 }]).unwrap();
        }
        command.stderr(std::fs::File::create(dir.join("log")).unwrap());
        Self { child: command.spawn().unwrap(), dir: dir.to_owned() }
    }

    fn client(&self) -> Client {
        eventually("the control socket", || Client::connect(&self.dir.join("control"), LIMIT).ok())
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn terminate(mut self) -> std::process::ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The supervisor's end of `NOTIFY_SOCKET`.
fn receive(socket: &UnixDatagram) -> (String, Option<OwnedFd>) {
    let mut bytes = [0; 256];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = rustix::net::recvmsg(socket, &mut slices, &mut control, flags).unwrap();
    let fd = control.drain().find_map(|message| {
        let RecvAncillaryMessage::ScmRights(mut fds) = message else { return None };
        fds.next()
    });
    (String::from_utf8_lossy(&bytes[..received.bytes]).into_owned(), fd)
}

fn configure(running: &Running, backend: &Backend) -> Observed {
    let mut client = running.client();
    let observed = client.configure("web", anywhere(), LIMIT).unwrap();
    client.switch("web", 0, "op", target("a", backend.address), LIMIT).unwrap();
    observed
}

#[test]
fn killed_proxy_gets_its_socket_back_and_no_connection_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let notify = dir.path().join("notify");
    let supervisor = UnixDatagram::bind(&notify).unwrap();
    supervisor.set_read_timeout(Some(LIMIT)).unwrap();
    let backend = Backend::named("a");
    let mut running = Running::start(dir.path(), None, Some(&notify));
    assert_eq!(receive(&supervisor).0, "READY=1\n");
    let address = crate::support::address(&configure(&running, &backend));
    let (text, kept) = receive(&supervisor);
    let asked: ListenAddress = "127.0.0.1:0".parse().unwrap();
    assert_eq!(text, format!("FDSTORE=1\nFDNAME={}\n", asked.to_fd_name()));
    let kept = kept.expect("a descriptor");
    assert_eq!(TcpListener::from(kept.try_clone().unwrap()).local_addr().unwrap(), address);
    let (stop, asked_count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let asking = {
        let (stop, asked) = (stop.clone(), asked_count.clone());
        std::thread::spawn(move || {
            // A new connection for each request; one that was accepted by a proxy that died is asked again.
            while !stop.load(Ordering::SeqCst) {
                let mut wire = Wire::connect(address);
                use std::io::Write;
                let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
                if wire.stream.get_mut().write_all(request).is_ok()
                    && let Some(answer) = wire.read()
                {
                    assert_eq!(answer.text(), "a");
                    asked.fetch_add(1, Ordering::SeqCst);
                }
            }
        })
    };
    for _ in 0..3 {
        let before = asked_count.load(Ordering::SeqCst);
        eventually("requests", || (asked_count.load(Ordering::SeqCst) > before + 20).then_some(()));
        running.kill();
        running = Running::start(dir.path(), Some((&asked.to_fd_name(), &kept)), Some(&notify));
        while receive(&supervisor).0 != "READY=1\n" {}
        let observed = running.client().observe("web", LIMIT).unwrap().unwrap();
        assert_eq!(crate::support::address(&observed), address);
    }
    stop.store(true, Ordering::SeqCst);
    asking.join().unwrap();
    assert_eq!(receive_all(&supervisor), Vec::<String>::new(), "nothing is stored twice");
}

fn receive_all(socket: &UnixDatagram) -> Vec<String> {
    socket.set_nonblocking(true).unwrap();
    let mut bytes = [0; 256];
    let mut texts = Vec::new();
    while let Ok(count) = socket.recv(&mut bytes) {
        texts.push(String::from_utf8_lossy(&bytes[..count]).into_owned());
    }
    texts
}

#[test]
fn terminated_proxy_ends_with_status_0_and_removes_its_socket() {
    let dir = tempfile::tempdir().unwrap();
    let backend = Backend::named("a");
    let running = Running::start(dir.path(), None, None);
    let address = crate::support::address(&configure(&running, &backend));
    let mut wire = Wire::connect(address);
    assert_eq!(wire.get("/").text(), "a");
    let ending = std::thread::spawn(move || running.terminate());
    eventually("no new connections", || {
        std::net::TcpStream::connect(address).is_err().then_some(())
    });
    assert_eq!(wire.get("/").header("connection"), Some("close"));
    assert!(ending.join().unwrap().success());
    assert!(!dir.path().join("control").exists());
}
