//! nginx as text: the site that alcedo renders, what stands in the files of a host's nginx, which slot such a host's
//! own site points at, and what is wrong with it.
//!
//! Pure: texts in, texts and findings out. Who reads and writes them is `router_nginx` in the binary.

mod adopt;
mod certbot;
mod fastcgi;
mod findings;
mod passes;
mod render;
mod text;

pub use adopt::{Adopted, Beside, Shape, Switch, pointed_at, read as adopt};
pub use certbot::{Certbot, same_but_for_certbot, split as split_certbot};
pub use findings::{Host, certificates, duplicate_upstreams, findings};
pub use passes::{PASSES, pass_file};
pub use render::{
    EffectiveAnswer, KEEPALIVE_TIMEOUT_MS, RenderError, SITE_ABOUT, STATUS_PATH, Site, Upstream,
    header_of, render, selector,
};
pub use text::{Directive, Dump, Place, TextError, parse_dump, quoted};

#[cfg(test)]
mod tests;
