//! Asks nginx itself, over loopback and on a fresh connection each time: which slot would a request go to now?

use crate::adapters::clock;
use crate::engine::ports::{EffectError, Millis};
use alcedo_core::nginx::{EffectiveAnswer, STATUS_PATH};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(2);
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// While workers of before and of after a reload both answer, this long nothing of before may be seen.
const SETTLED: Duration = Duration::from_millis(250);
const PAUSE: Duration = Duration::from_millis(5);

/// One answer of the status page.
pub(super) fn once(status: SocketAddr) -> Result<EffectiveAnswer, EffectError> {
    let failed = |detail: String| EffectError::Failed {
        what: format!("ask nginx on {status}"),
        detail,
        hint: Some("systemctl status nginx".to_owned()),
    };
    let text = exchange(status).map_err(|error| failed(error.to_string()))?;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).map_err(|_| {
        let first = text.lines().next().unwrap_or("nothing").to_owned();
        failed(format!("something else answers there: {first}"))
    })
}

fn exchange(status: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&status, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    // HTTP/1.0: the connection ends with the answer.
    write!(stream, "GET {STATUS_PATH} HTTP/1.0\r\nHost: alcedo\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Asks until only answers that are as wanted come, or until the deadline; `Err` is what was seen last.
pub(super) fn until_settled(
    status: SocketAddr,
    deadline: Millis,
    is_wanted: impl Fn(&EffectiveAnswer) -> bool,
) -> Result<(), String> {
    let mut since: Option<Millis> = None;
    let mut last = "nothing".to_owned();
    while !clock::left(deadline).is_zero() {
        match once(status) {
            Ok(answer) if is_wanted(&answer) => {
                let first = *since.get_or_insert_with(clock::now);
                if clock::now().since(first) >= SETTLED {
                    return Ok(());
                }
            }
            Ok(answer) => {
                since = None;
                last = format!("{answer:?}");
            }
            Err(error) => {
                since = None;
                last = alcedo_core::event::Failure::from(error).detail;
            }
        }
        std::thread::sleep(PAUSE);
    }
    Err(last)
}
