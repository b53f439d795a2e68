use super::*;

fn parsed(line: &str) -> Result<Cli, Refused> {
    parse(line.split_whitespace().map(OsString::from))
}

fn refusal(line: &str) -> String {
    match parsed(line) {
        Err(Refused::NotHere(failed)) => {
            assert_eq!(failed.exit, 2, "{line}");
            failed.message
        }
        Err(Refused::Usage(error)) => panic!("{line}: {error}"),
        Ok(cli) => panic!("{line} was accepted: {cli:?}"),
    }
}

#[test]
fn the_grammar_is_consistent() {
    command().debug_assert();
}

#[test]
fn every_verb_of_a_later_version_is_refused_by_name() {
    let verbs = "run secrets contract debug maintenance pause resume lock unlock bench-switch user token man";
    for verb in verbs.split(' ') {
        assert_eq!(
            refusal(&format!("alcedo {verb}")),
            format!("`alcedo {verb}` is not in this version")
        );
        assert!(
            refusal(&format!("alcedo -a x {verb} --any -x word --json"))
                .contains("not in this version")
        );
    }
}

#[test]
fn every_form_of_a_later_version_is_refused_by_name() {
    for (line, word) in [
        ("alcedo setup --user --dry-run", "--dry-run"),
        ("alcedo setup --rename old", "--rename"),
        ("alcedo deploy --skip-gates because", "--skip-gates"),
        ("alcedo logs --since 10m", "--since"),
        ("alcedo key sign", "key sign"),
    ] {
        let message = refusal(line);
        assert!(
            message.contains(word) && message.contains("not in this version"),
            "{line}: {message}"
        );
    }
}

#[test]
fn words_of_other_tools_are_answered_with_ours() {
    for (word, ours) in [
        ("doctor", "alcedo check"),
        ("lint", "alcedo check"),
        ("validate", "alcedo check"),
        ("ps", "alcedo status"),
        ("exec", "alcedo run"),
        ("console", "alcedo run"),
        ("cutover", "alcedo promote"),
        ("switch", "alcedo promote"),
        ("undo", "alcedo rollback"),
        ("revert", "alcedo rollback"),
        ("restart", "alcedo deploy active"),
        ("redeploy", "alcedo deploy active"),
        ("destroy", "alcedo setup --remove"),
        ("remove", "alcedo setup --remove"),
    ] {
        let message = refusal(&format!("alcedo {word} now"));
        assert!(message.contains(&format!("`{ours}`")), "{word}: {message}");
    }
}

#[test]
fn the_nearest_known_verb_and_flag_are_named() {
    for (line, near) in [
        ("alcedo deplyo", "deploy"),
        ("alcedo deploy --stag", "--stage"),
        ("alcedo rolback", "rollback"),
    ] {
        let Err(Refused::Usage(error)) = parsed(line) else { panic!("{line} was accepted") };
        assert!(error.to_string().contains(near), "{line}: {error}");
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn help_of_every_verb_begins_with_examples() {
    let mut all = command();
    assert!(all.render_help().to_string().starts_with("Examples:\n  alcedo "));
    let verbs: Vec<String> = all
        .get_subcommands()
        .filter(|c| !c.is_hide_set())
        .map(|c| c.get_name().to_owned())
        .collect();
    assert!(verbs.len() >= 17, "{verbs:?}");
    for verb in verbs {
        let Err(Refused::Usage(error)) = parsed(&format!("alcedo {verb} --help")) else {
            panic!("{verb}")
        };
        let help = error.to_string();
        assert!(help.starts_with(&format!("Examples:\n  alcedo {verb}")), "{help}");
        let widest = help.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        assert!(widest <= 96, "{verb}: {widest} columns");
    }
}

#[test]
fn help_as_a_word_is_help() {
    for line in ["alcedo help", "alcedo help deploy"] {
        let Err(Refused::Usage(error)) = parsed(line) else { panic!("{line}") };
        assert_eq!(error.exit_code(), 0, "{line}: {error}");
        assert!(error.to_string().starts_with("Examples:"), "{line}: {error}");
    }
}

#[test]
fn a_variable_that_is_set_to_nothing_is_unset_and_a_flag_is_not() {
    let empty =
        || Globals { app: Some(String::new()), host: Some(String::new()), ..Globals::default() };
    let mut globals = empty();
    globals.forget_empty(&|_| true);
    assert_eq!((globals.app, globals.host), (None, None));
    let mut globals = empty();
    globals.forget_empty(&|_| false);
    assert_eq!(globals.app.as_deref(), Some(""));
}

#[test]
fn global_flags_stand_before_or_after_the_verb() {
    for line in
        ["alcedo -a shop -e staging --json status", "alcedo status -a shop -e staging --json"]
    {
        let cli = parsed(line).unwrap();
        assert_eq!(cli.globals.app.as_deref(), Some("shop"));
        assert_eq!(cli.globals.environment.as_deref(), Some("staging"));
        assert!(cli.globals.json);
    }
    parsed("alcedo --host local status").unwrap();
}

#[test]
fn deploy_reads_every_flag() {
    let line = "alcedo deploy dist --stage --note n --wait bake --accept a,b --accept c --wait-lock 15m --supersede --retry --plan p1";
    let Verb::Deploy(args) = parsed(line).unwrap().verb else { panic!("not a deploy") };
    assert_eq!(args.accept, ["a", "b", "c"]);
    assert_eq!(args.wait, Wait::Bake);
    assert_eq!(args.wait_lock, Some(std::time::Duration::from_secs(900)));
    assert!(parsed("alcedo deploy --follow dist").is_err());
    assert!(parsed("alcedo deploy --wait-lock 15").is_err());
    assert!(parsed("alcedo resolve red").is_err());
}
