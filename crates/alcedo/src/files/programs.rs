//! Which programs of a release cannot run here (S3-10): a binary built for another machine says so before it is started.

use super::{FilesError, io_error};
use alcedo_core::config::Config;
use alcedo_core::release::{Machine, elf_machine};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// The programs that the services name by path, and the machine of each that is a binary for another than `host`.
pub(crate) fn foreign_programs(
    release: &Path,
    config: &Config,
    host: Machine,
) -> Result<Vec<(PathBuf, Machine)>, FilesError> {
    let mut foreign = Vec::new();
    for service in config.services.values() {
        let Some(program) = service.command.first() else { continue };
        // A bare name is looked up in PATH, an absolute one is the host's.
        if !program.contains('/') || program.starts_with('/') || program.contains(['{', '$']) {
            continue;
        }
        let path = release.join(&service.dir).join(program);
        if let Some(machine) = machine_of(&path)?
            && !machine.runs_on(host)
        {
            foreign.push((path, machine));
        }
    }
    Ok(foreign)
}

/// What machine a file was built for; `None`: it is no binary, or not there.
pub(crate) fn machine_of(path: &Path) -> Result<Option<Machine>, FilesError> {
    let mut head = Vec::new();
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => {
            let file = opened.map_err(io_error("read", path))?;
            if !file.metadata().map_err(io_error("read", path))?.is_file() {
                return Ok(None);
            }
            file.take(20).read_to_end(&mut head).map_err(io_error("read", path))?
        }
    };
    Ok(elf_machine(&head))
}

/// The refusal, for a program of another machine.
pub(crate) fn foreign_error(path: &Path, machine: Machine, host: Machine) -> FilesError {
    FilesError::refused_hint(
        format!("run {}", path.display()),
        format!("it is built for linux/{machine}, and this machine is linux/{host}"),
        format!(
            "build it for linux/{host}: `release.build` sees it as ALCEDO_TARGET (Go: GOARCH={host})"
        ),
    )
}

/// Refuses a release whose programs cannot run on this machine.
pub(crate) fn refuse_foreign(release: &Path, config: &Config) -> Result<(), FilesError> {
    match foreign_programs(release, config, Machine::HERE)?.into_iter().next() {
        Some((path, machine)) => Err(foreign_error(&path, machine, Machine::HERE)),
        None => Ok(()),
    }
}
