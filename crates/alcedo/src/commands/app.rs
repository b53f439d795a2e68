//! Which app is meant: by the nearest `alcedo.toml` upward, by `-C`, `-c`, or by name alone.

use crate::api::{ConfigText, Failed};
use crate::cli::Globals;
use alcedo_core::config::{self, Input, Loaded};
use alcedo_core::names::PRODUCTION;
use alcedo_core::{AppName, HostAddress};
use anyhow::Context;
use std::path::{Path, PathBuf};

/// The file's name.
const FILE: &str = "alcedo.toml";
/// A larger one is no configuration.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// An app.
pub(crate) struct App {
    /// Its name on the host.
    pub(crate) name: AppName,
    /// `app` as written, or as it was typed.
    pub(crate) app: String,
    /// `production`, or the name after `-e`.
    pub(crate) environment: String,
    /// Its file, when there is one.
    pub(crate) file: Option<File>,
}

/// An `alcedo.toml`.
pub(crate) struct File {
    /// What stands in it.
    pub(crate) typed: ConfigText,
    /// Its directory.
    pub(crate) dir: PathBuf,
    /// What it means; `None` when it has an error that does not matter here.
    pub(crate) loaded: Option<Loaded>,
}

impl App {
    /// The file, which the verb cannot do without.
    ///
    /// # Errors
    /// When the app was named by `-a` alone.
    pub(crate) fn file(&self) -> anyhow::Result<(&File, &Loaded)> {
        let file = self.file.as_ref().and_then(|file| Some((file, file.loaded.as_ref()?)));
        file.ok_or_else(|| {
            let message = format!(
                "only the name of {} is known here, and this needs its alcedo.toml",
                self.app
            );
            Failed::usage(message)
                .hint("type it in the app's directory, or name the file with -c")
                .into()
        })
    }

    /// The machine that its file names, even when the file has errors: the way back must not lead elsewhere.
    ///
    /// # Errors
    /// When what it names is no machine.
    pub(crate) fn host(&self) -> anyhow::Result<HostAddress> {
        let Some(file) = &self.file else { return Ok(HostAddress::Local) };
        let host = match &file.loaded {
            Some(loaded) => loaded.config.host.clone(),
            None => config::host(&file.typed.text, &self.environment)
                .map_err(|error| super::session::not_a_host(&error))?,
        };
        Ok(host.unwrap_or(HostAddress::Local))
    }

    /// What is sent along, when there is a file.
    pub(crate) fn typed(&self) -> Option<ConfigText> {
        self.file.as_ref().filter(|file| file.loaded.is_some()).map(|file| file.typed.clone())
    }
}

/// The app that is meant. Its file must be right.
pub(crate) fn find(globals: &Globals) -> anyhow::Result<App> {
    let Some((path, shown)) = locate(globals)? else { return by_name(globals) };
    let file = read(&path, &shown, globals)?;
    let text = &file.typed;
    let input =
        Input { text: &text.text, file: &text.file, environment: globals.environment.as_deref() };
    match config::load(input) {
        Ok(loaded) if is_meant(globals, loaded.config.app.as_str()) => with_file(file, loaded),
        Ok(_) => by_name(globals),
        // An error in another app's file is not in the way.
        Err(_)
            if globals.app.is_some()
                && !is_meant(globals, &app_key(&text.text).unwrap_or_default()) =>
        {
            by_name(globals)
        }
        Err(errors) => Err(errors.into()),
    }
}

/// The app that is meant, even when its file has errors: only its name is needed.
pub(crate) fn find_leniently(globals: &Globals) -> anyhow::Result<App> {
    let error = match find(globals) {
        Ok(app) => return Ok(app),
        Err(error) => error,
    };
    let Ok(Some((path, shown))) = locate(globals) else { return Err(error) };
    let file = read(&path, &shown, globals)?;
    // A name that was typed and is not this file's must never end at this file's app.
    let key = app_key(&file.typed.text).filter(|app| is_meant(globals, app));
    let Some(app) = key.and_then(|app| AppName::new(app).ok()) else {
        return Err(error);
    };
    let environment = globals.environment.clone().unwrap_or_else(|| PRODUCTION.to_owned());
    let name = AppName::on_host(&app, &environment)?;
    Ok(App { name, app: app.to_string(), environment, file: Some(file) })
}

/// Whether there is a file to be found, or an app was named.
pub(crate) fn is_named(globals: &Globals) -> bool {
    globals.app.is_some() || !matches!(locate(globals), Ok(None))
}

fn with_file(file: File, loaded: Loaded) -> anyhow::Result<App> {
    let config = &loaded.config;
    let name = AppName::on_host(&config.app, &config.environment)?;
    let (app, environment) = (config.app.to_string(), config.environment.clone());
    Ok(App { name, app, environment, file: Some(File { loaded: Some(loaded), ..file }) })
}

/// `-a` names an app by `app`, or by its name on the host.
fn is_meant(globals: &Globals, app: &str) -> bool {
    globals.app.as_deref().is_none_or(|wanted| {
        let suffix = globals.environment.as_ref().map(|e| format!("{app}-{e}"));
        wanted == app || suffix.as_deref() == Some(wanted)
    })
}

fn by_name(globals: &Globals) -> anyhow::Result<App> {
    let Some(wanted) = &globals.app else {
        let failed = Failed::usage(format!("no {FILE} here or in a directory above"));
        return Err(failed
            .hint("write one (app and web.command are enough), or name an app: -a APP")
            .into());
    };
    let app = AppName::new(wanted.clone())
        .map_err(|error| Failed::usage(format!("failed to {error}")))?;
    let environment = globals.environment.clone().unwrap_or_else(|| PRODUCTION.to_owned());
    let name = AppName::on_host(&app, &environment)
        .map_err(|error| Failed::usage(format!("failed to {error}")))?;
    Ok(App { name, app: app.to_string(), environment, file: None })
}

/// The file and how it is shown.
fn locate(globals: &Globals) -> anyhow::Result<Option<(PathBuf, String)>> {
    let cwd = std::env::current_dir().context("find the current directory")?;
    if let Some(file) = &globals.file {
        return Ok(Some((cwd.join(file), file.display().to_string())));
    }
    let start = globals.app_dir.as_ref().map_or_else(|| cwd.clone(), |dir| cwd.join(dir));
    if !start.is_dir() {
        return Err(Failed::usage(format!("there is no directory {}", start.display())).into());
    }
    let found = start.ancestors().map(|dir| dir.join(FILE)).find(|path| path.is_file());
    Ok(found.map(|path| {
        let shown = path.strip_prefix(&cwd).unwrap_or(&path).display().to_string();
        (path, shown)
    }))
}

fn read(path: &Path, shown: &str, globals: &Globals) -> anyhow::Result<File> {
    let unread = |error: std::io::Error| Failed {
        file: Some(shown.to_owned()),
        ..Failed::new("config", format!("failed to read {shown}: {error}"), 2)
    };
    if std::fs::metadata(path).map_err(unread)?.len() > FILE_BYTES_MAX {
        return Err(Failed::new(
            "config",
            format!("{shown} is larger than {FILE_BYTES_MAX} bytes"),
            2,
        )
        .into());
    }
    let text = std::fs::read_to_string(path).map_err(unread)?;
    let typed =
        ConfigText { text, file: shown.to_owned(), environment: globals.environment.clone() };
    let dir = path.parent().unwrap_or(Path::new("/")).to_owned();
    Ok(File { typed, dir, loaded: None })
}

/// `app = "…"` of a file that cannot be read whole.
fn app_key(text: &str) -> Option<String> {
    let top = text.lines().take_while(|line| !line.trim_start().starts_with('['));
    let value = top.filter_map(|line| line.split_once('=')).find(|(key, _)| key.trim() == "app")?.1;
    let value = value.trim().trim_start_matches(['"', '\'']);
    Some(value.split(['"', '\'', '#']).next()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globals(dir: &Path, app: Option<&str>, environment: Option<&str>) -> Globals {
        Globals {
            app_dir: Some(dir.to_owned()),
            app: app.map(str::to_owned),
            environment: environment.map(str::to_owned),
            ..Globals::default()
        }
    }

    fn with_file(text: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("web/src")).unwrap();
        std::io::Write::write_all(
            &mut std::fs::File::create(dir.path().join(FILE)).unwrap(),
            text.as_bytes(),
        )
        .unwrap();
        dir
    }

    const SHOP: &str = "app = \"shop\"\nweb.command = \"./web --port {port}\"\nhealth.path = \"/up\"\n\
                        environments.staging = { bake.time = \"1m\" }\n";

    #[test]
    fn the_nearest_file_upward_names_the_app() {
        let dir = with_file(SHOP);
        let app = find(&globals(&dir.path().join("web/src"), None, Some("staging"))).unwrap();
        assert_eq!((app.name.as_str(), app.app.as_str()), ("shop-staging", "shop"));
        assert!(app.typed().is_some());
    }

    #[test]
    fn another_app_s_file_is_not_taken_for_the_one_that_was_named() {
        let dir = with_file(SHOP);
        let app = find(&globals(dir.path(), Some("api"), None)).unwrap();
        assert_eq!(app.name.as_str(), "api");
        assert!(app.file.is_none() && app.file().is_err());
        assert!(find(&globals(dir.path(), Some("shop"), None)).unwrap().file.is_some());
    }

    #[test]
    fn an_error_in_the_file_stands_before_a_deploy_and_not_before_the_way_back() {
        let dir = with_file("app = 'shop' # ours\nweb.comand = \"x\"\n");
        let flags = globals(dir.path(), None, None);
        assert!(find(&flags).is_err());
        let app = find_leniently(&flags).unwrap();
        assert_eq!(app.name.as_str(), "shop");
        assert!(app.typed().is_none());
    }

    #[test]
    fn a_name_that_no_app_can_have_never_ends_at_the_app_of_the_directory() {
        for text in [SHOP, "app = 'shop'\nweb.comand = \"x\"\n"] {
            let dir = with_file(text);
            for wanted in ["Nope_x", "shop_", ""] {
                let found = find_leniently(&globals(dir.path(), Some(wanted), None));
                assert!(found.is_err(), "{wanted:?} led to {}", found.unwrap().name);
            }
            let named = find_leniently(&globals(dir.path(), Some("shop"), None)).unwrap();
            assert_eq!(named.name.as_str(), "shop");
        }
    }

    #[test]
    fn the_app_key_is_only_read_at_the_top_of_the_file() {
        assert_eq!(app_key("# x\napp= \"a-b\" # c\n"), Some("a-b".to_owned()));
        assert_eq!(app_key("[env]\napp = \"x\"\n"), None);
    }
}
