use super::request::{Request, Verb};
use super::rights::{Call, Rights};
use super::*;
use crate::cli::HostArgs;
use hyper::Method;
use proptest::prelude::*;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStringExt;

fn args(verbs: Option<&str>, apps: Option<&str>) -> HostArgs {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    HostArgs { verbs: owned(verbs), apps: owned(apps), words: Vec::new() }
}

fn admit(verbs: &str, asked: &str) -> Result<Rights, Failed> {
    admitted(&args(Some(verbs), None), Some(&OsString::from(asked))).map(|(rights, _)| rights)
}

#[test]
fn a_key_does_what_its_verbs_say_and_nothing_else() {
    let ci = "deploy,rollback,status";
    for asked in [
        "alcedo host deploy shop",
        "alcedo host status",
        "/usr/local/bin/alcedo host rollback shop",
    ] {
        assert!(admit(ci, asked).is_ok(), "{asked}");
    }
    let failed = admit(ci, "alcedo host retire shop").unwrap_err();
    assert_eq!((failed.code.as_str(), failed.exit), ("not-allowed", 1));
    assert!(
        failed.message.contains("`retire`") && failed.message.contains("deploy, rollback, status")
    );
    assert!(admit("deplyo", "alcedo host deploy").is_err());
}

#[test]
fn hostile_commands_are_refused_and_not_repeated() {
    for asked in [
        "",
        " ",
        "sh",
        "alcedo",
        "alcedo host",
        "alcedo host deploy shop; reboot",
        "alcedo host deploy $(reboot)",
        "alcedo host deploy `reboot`",
        "alcedo host deploy shop\nreboot",
        "alcedo host  deploy",
        "alcedo host deploy -x",
        "alcedo host deploy --verbs",
        "alcedo host --verbs all deploy",
        "alcedo host deploy shop extra",
        "alcedo host deploy ../../etc",
        "alcedo daemon",
        "evil/alcedo host deploy",
        "ALCEDO HOST DEPLOY",
        "alcedo host deploy shop\0",
        "scp -t /",
        "internal-sftp",
    ] {
        let failed = admit("all", asked).unwrap_err();
        assert_eq!((failed.code.as_str(), failed.exit), ("not-allowed", 1), "{asked:?}");
        let word = "reboot";
        assert!(!failed.message.contains(word), "{}", failed.message);
    }
}

#[test]
fn a_forced_command_without_verbs_and_a_login_without_a_command_open_nothing() {
    let asked = OsString::from("alcedo host deploy");
    assert!(admitted(&args(None, None), Some(&asked)).is_err());
    assert!(admitted(&args(Some("deploy"), None), None).is_err());
    // A shell that ran it with words has all rights already.
    let words = ["status", "shop"].map(OsString::from).to_vec();
    let by_hand = HostArgs { words, ..args(None, None) };
    assert!(admitted(&by_hand, None).is_ok());
}

#[test]
fn a_key_for_one_app_sees_no_other() {
    let rights = Rights::of(&args(Some("all"), Some("shop,shop-staging"))).unwrap();
    let call = |path: &str| rights.check_call(&Method::GET, path, None);
    assert!(call("/v1/apps/shop/history").is_ok());
    for path in ["/v1/apps/api/history", "/v1/status", "/v1/apps/shop/../api/history"] {
        assert!(call(path).is_err(), "{path}");
    }
    assert!(rights.check_call(&Method::GET, "/v1/status", Some("app=shop")).is_ok());
    for query in ["app=api", "app=shop&app=api", "x=1&app=shop"] {
        assert!(rights.check_call(&Method::GET, "/v1/status", Some(query)).is_err(), "{query}");
    }
}

#[test]
fn calls_beyond_the_verbs_are_refused_one_by_one() {
    let rights = Rights::of(&args(Some("deploy,rollback,status"), None)).unwrap();
    let post =
        |name: &str| rights.check_call(&Method::POST, &format!("/v1/apps/shop/{name}"), None);
    assert_eq!(post("deploy").unwrap(), Call::Deploy);
    assert_eq!(post("offer").unwrap(), Call::Offer);
    for name in ["retire", "resolve", "prune", "promote", "nothing", ""] {
        assert!(post(name).is_err(), "{name}");
    }
    assert!(rights.check_call(&Method::GET, "/v1/apps/shop/deploy", None).is_err());
    let read_only = Rights::of(&args(Some("status"), None)).unwrap();
    assert!(read_only.check_call(&Method::POST, "/v1/apps/shop/deploy", None).is_err());
    assert!(read_only.check_call(&Method::GET, "/v1/apps/shop/logs", None).is_err());
}

#[test]
fn a_deploy_key_gives_up_only_before_the_switch_and_names_no_path_of_the_host() {
    let rights = Rights::of(&args(Some("deploy"), None)).unwrap();
    let abort = |before: bool| {
        let body = format!(r#"{{"operation":"o","by":"ci","before_switch":{before}}}"#);
        rights.check_body(Call::Abort, body.as_bytes())
    };
    assert!(abort(true).is_ok());
    assert!(abort(false).is_err());
    let deploy = |source: &str| {
        let what = format!(
            r#"{{"files":{{"source":{source},"release":"r20261120-191405-4be1c07","commit":null}}}}"#
        );
        let body = format!(r#"{{"operation":"o","by":"ci","what":{what}}}"#);
        rights.check_body(Call::Deploy, body.as_bytes())
    };
    let sent = r#"{"upload":{"hash":"00","form":"tree"}}"#;
    assert!(deploy(sent).is_ok(), "{:?}", deploy(sent));
    assert!(deploy(r#"{"directory":{"path":"/root","hash":"00"}}"#).is_err());
    assert!(deploy(r#"{"archive":{"path":"/etc/shadow","hash":"00"}}"#).is_err());
    assert!(rights.check_body(Call::Deploy, b"no json").is_err());
}

#[test]
fn the_greeting_is_found_and_noise_is_not_taken_for_it() {
    let greeting = Greeting { api: 1, alcedo: "0.1.0".to_owned(), refused: None };
    assert_eq!(greeting::read(greeting::line(&greeting).as_bytes()), Some(greeting));
    for noise in ["", "Welcome to Debian", "alcedo-host", "alcedo-host {", "\u{1b}[0m"] {
        assert_eq!(greeting::read(noise.as_bytes()), None, "{noise:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is accepted is one of the verbs and at most one plain name; nothing makes it fall over.
    #[test]
    fn only_the_grammar_is_accepted(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..80),
            "(alcedo|/usr/bin/alcedo|sh|alcedo ) ?(host|hos|-c)? ?[a-z;&|$` -]{0,20} ?[a-z0-9./-]{0,12}"
                .prop_map(String::into_bytes),
        ]
    ) {
        let command = OsString::from_vec(bytes.clone());
        if let Ok(Request { verb, app }) = Request::parse(&command) {
            let text = std::str::from_utf8(&bytes).unwrap();
            let (program, rest) = text.split_once(" host ").unwrap();
            prop_assert!(program == "alcedo" || program.ends_with("/alcedo"));
            let again = match &app {
                Some(app) => format!("{} {app}", verb.as_str()),
                None => verb.as_str().to_owned(),
            };
            prop_assert_eq!(rest, again);
        }
    }

    #[test]
    fn no_path_reaches_more_than_its_call(path in "/v1/(apps/)?[a-z./%-]{0,24}(/[a-z]{0,8}){0,2}", get in any::<bool>()) {
        let method = if get { Method::GET } else { Method::POST };
        let rights = Rights::of(&args(Some("status"), Some("shop"))).unwrap();
        if let Ok(call) = rights.check_call(&method, &path, None) {
            prop_assert_eq!(call, Call::Hello);
        }
    }
}

#[test]
fn every_verb_reads_back() {
    for verb in Verb::ALL {
        assert_eq!(Verb::parse(verb.as_str()), Some(*verb));
    }
    assert!(Request::parse(OsStr::new("alcedo host status")).unwrap().app.is_none());
}
