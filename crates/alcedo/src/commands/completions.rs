//! `completions`: a shell's script. Verbs and flags are in it; apps and releases come from what this machine last showed.

use super::session::Session;
use crate::cli::{CompletionsArgs, command};
use crate::report::ended::exit;
use clap_complete::Shell;

/// Added to bash's script: words after the verbs that take a release, and after `-a`.
const BASH: &str = r#"
_alcedo_named() {
    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" kind=""
    case "$prev" in
        -a|--app) kind=apps ;;
        rollback|deploy|plan|--release) kind=releases ;;
    esac
    if [[ -n "$kind" && "$cur" != -* ]]; then
        COMPREPLY=($(compgen -W "$(alcedo __names "$kind" 2>/dev/null)" -- "$cur"))
        [[ ${#COMPREPLY[@]} -gt 0 ]] && return 0
    fi
    _alcedo "$@"
}
complete -F _alcedo_named -o nosort -o bashdefault -o default alcedo
"#;

/// Added to fish's script.
const FISH: &str = r#"
complete -c alcedo -s a -l app -x -a "(alcedo __names apps 2>/dev/null)"
complete -c alcedo -n "__fish_seen_subcommand_from rollback deploy plan" -a "(alcedo __names releases 2>/dev/null)"
complete -c alcedo -l release -x -a "(alcedo __names releases 2>/dev/null)"
"#;

/// Added to zsh's script.
const ZSH: &str = r#"
_alcedo_named() {
    local kind=""
    case "${words[CURRENT-1]}" in
        -a|--app) kind=apps ;;
        rollback|deploy|plan|--release) kind=releases ;;
    esac
    if [[ -n "$kind" && "${words[CURRENT]}" != -* ]]; then
        local -a names
        names=(${(f)"$(alcedo __names "$kind" 2>/dev/null)"})
        (( ${#names} )) && compadd -a names
    fi
    _alcedo "$@"
}
compdef _alcedo_named alcedo
"#;

/// Runs `completions`.
pub(crate) fn run(session: &mut Session, args: &CompletionsArgs) -> anyhow::Result<u8> {
    let _ = session.reporter.raw(&script(args.shell));
    Ok(exit::DONE)
}

fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut visible(), "alcedo", &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign, open enum")]
    match shell {
        Shell::Bash => script.push_str(BASH),
        Shell::Fish => script.push_str(FISH),
        Shell::Zsh => script.push_str(ZSH),
        // PowerShell and elvish complete verbs and flags.
        _ => {}
    }
    script
}

/// Without what is only understood to be refused.
fn visible() -> clap::Command {
    let all = command();
    let hidden: Vec<String> = all
        .get_subcommands()
        .filter(|c| c.is_hide_set())
        .map(|c| c.get_name().to_owned())
        .collect();
    let mut shown = clap::Command::default().name("alcedo").disable_help_subcommand(true);
    shown = all.get_arguments().fold(shown, |shown, arg| shown.arg(arg.clone()));
    all.get_subcommands()
        .filter(|c| !hidden.iter().any(|h| h == c.get_name()))
        .fold(shown, |shown, verb| shown.subcommand(verb.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_name_verbs_and_take_names_from_this_machine_only() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell);
            for word in ["rollback", "promote", "alcedo __names"] {
                assert!(script.contains(word), "{shell} lacks {word}");
            }
            assert!(!script.contains("doctor"), "{shell} offers words that are refused");
        }
    }
}
