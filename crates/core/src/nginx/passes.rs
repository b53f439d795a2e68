//! Links to the slot without traffic, in a site of the flag form: a file for each token says which slot it leads to, so
//! that nothing is reloaded for one.

use super::render::{Site, Text};
use crate::config::NginxForm;
use crate::slot::Slot;

/// Directory of the files, beside the flag.
pub const PASSES: &str = "passes";

/// The name of a token's file.
pub fn pass_file(token: &str, slot: Slot) -> String {
    format!("{token}.{slot}")
}

impl Site<'_> {
    /// After the choice of the slot: whoever shows a token is led to its slot, and told so that nobody keeps the answer.
    pub(super) fn passes(&self, text: &mut Text) {
        text.put(1, "set $alcedo_pass none;");
        text.put(1, "set $alcedo_cache \"\";");
        text.put(1, "set $alcedo_robots \"\";");
        text.put(1, "if ($cookie_alcedo_preview ~ \"^([0-9a-f]+)$\") {");
        text.put(2, "set $alcedo_pass $1;");
        text.put(1, "}");
        for slot in Slot::BOTH {
            text.put(1, &format!("if (-f {}) {{", self.pass("$alcedo_pass", slot)));
            text.put(2, &format!("set $alcedo_slot {slot};"));
            text.put(2, "set $alcedo_cache no-store;");
            text.put(2, "set $alcedo_robots noindex;");
            text.put(1, "}");
        }
    }

    /// Headers of every answer (one without a value is not sent), and the place that makes a cookie of a token.
    pub(super) fn pass_link(&self, text: &mut Text) {
        if self.form != NginxForm::Flag {
            return;
        }
        text.put(1, "add_header Cache-Control $alcedo_cache always;");
        text.put(1, "add_header X-Robots-Tag $alcedo_robots always;");
        text.put(1, "location ^~ /.alcedo/preview/ {");
        text.put(2, "access_log off;");
        text.put(2, "absolute_redirect off;");
        text.put(2, "set $alcedo_link none;");
        text.put(2, "if ($uri ~ \"/([0-9a-f]+)$\") {");
        text.put(3, "set $alcedo_link $1;");
        text.put(2, "}");
        text.put(2, "set $alcedo_good \"\";");
        for slot in Slot::BOTH {
            text.put(2, &format!("if (-f {}) {{", self.pass("$alcedo_link", slot)));
            text.put(3, "set $alcedo_good 1;");
            text.put(2, "}");
        }
        text.put(2, "if ($alcedo_good = \"\") {");
        text.put(3, "return 404;");
        text.put(2, "}");
        let cookie = "alcedo_preview=$alcedo_link; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax";
        text.put(2, &format!("add_header Set-Cookie \"{cookie}\" always;"));
        text.put(2, "add_header Cache-Control no-store always;");
        text.put(2, "add_header Referrer-Policy no-referrer always;");
        text.put(2, "return 303 /;");
        text.put(1, "}");
    }

    fn pass(&self, token: &str, slot: Slot) -> String {
        self.dir.join(PASSES).join(pass_file(token, slot)).display().to_string()
    }
}
