//! The one key that verbs on the way back need of a file with errors: where the app runs.

use super::load::TEXT_BYTES_MAX;
use crate::host::{HostAddress, HostError};
use crate::names::PRODUCTION;
use toml::de::{DeTable, DeValue};

/// `host` of `environment`, as far as it can be read; `None`: the file names no machine there.
///
/// # Errors
/// When it names one that cannot be read. Nothing else in the file matters.
pub fn host(text: &str, environment: &str) -> Result<Option<HostAddress>, HostError> {
    if text.len() > TEXT_BYTES_MAX {
        return Ok(None);
    }
    let (table, _) = DeTable::parse_recoverable(text);
    let root = table.get_ref();
    let layer = (environment != PRODUCTION)
        .then(|| {
            root.get("environments")?.get_ref().as_table()?.get(environment)?.get_ref().as_table()
        })
        .flatten();
    let found = layer.and_then(text_of).or_else(|| text_of(root));
    found.map(|text| HostAddress::parse(&text)).transpose()
}

fn text_of(layer: &DeTable<'_>) -> Option<String> {
    match layer.get("host")?.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn the_machine_is_found_in_a_file_with_errors() {
        let text = "app = \"shop\"\nhost = \"a@one\"\nnope = = 1\nweb.comand = 7\n\
                    [environments.staging]\nhost = \"b@two\"\n[environments.qa]\n";
        let of = |environment| host(text, environment).expect("a machine").map(|h| h.to_string());
        assert_eq!(of("production").as_deref(), Some("a@one"));
        assert_eq!(of("staging").as_deref(), Some("b@two"));
        assert_eq!(of("qa").as_deref(), Some("a@one"));
        assert_eq!(host("app = 'x'", "production"), Ok(None));
        assert!(host("host = '-x'", "production").is_err());
    }
}
