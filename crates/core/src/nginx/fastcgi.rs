//! A pool of php-fpm behind nginx: files of its document root are nginx's to serve, everything else is `index.php`'s.
//!
//! Socket and root are chosen by the slot, with each request. The root is a link, and PHP is told where it leads: what it
//! caches by path is one release's and no other's.

use super::render::{CONNECT_TIMEOUT, Site, Text, Upstream};
use super::text::quoted;

/// What every request has, besides its headers. CGI/1.1 (RFC 3875); `REDIRECT_STATUS` is PHP's own wish.
const PARAMS: [(&str, &str); 17] = [
    ("QUERY_STRING", "$query_string"),
    ("REQUEST_METHOD", "$request_method"),
    ("CONTENT_TYPE", "$content_type"),
    ("CONTENT_LENGTH", "$content_length"),
    ("REQUEST_URI", "$request_uri"),
    ("DOCUMENT_URI", "$document_uri"),
    ("DOCUMENT_ROOT", "$realpath_root"),
    ("SERVER_PROTOCOL", "$server_protocol"),
    ("GATEWAY_INTERFACE", "CGI/1.1"),
    ("SERVER_SOFTWARE", "nginx"),
    ("REMOTE_ADDR", "$remote_addr"),
    ("REMOTE_PORT", "$remote_port"),
    ("SERVER_ADDR", "$server_addr"),
    ("SERVER_PORT", "$server_port"),
    ("SERVER_NAME", "$host"),
    ("REDIRECT_STATUS", "200"),
    // A client's header of that name would be taken for a setting of the app's own HTTP client.
    ("HTTP_PROXY", "\"\""),
];

/// Everything that goes to this pool.
pub(super) fn locations(site: &Site<'_>, text: &mut Text, pool: &Upstream) {
    for route in &pool.routes {
        let below = format!("{route}/");
        for what in [format!("= {}", quoted(route)), format!("^~ {}", quoted(&below))] {
            text.put(1, &format!("location {what} {{"));
            script(site, text, pool, "/index.php");
            text.put(1, "}");
        }
    }
    if !pool.routes.is_empty() {
        return;
    }
    // `.env`, `.git`: never anybody's business but the app's.
    text.put(1, "location ~ /\\.(?!well-known/) {");
    text.put(2, "return 404;");
    text.put(1, "}");
    text.put(1, "location / {");
    root(site, text, pool);
    text.put(2, "index index.php index.html;");
    text.put(2, "try_files $uri $uri/ /index.php$is_args$args;");
    text.put(1, "}");
    text.put(1, "location ~ \\.php$ {");
    text.put(2, "try_files $uri =404;");
    script(site, text, pool, "$fastcgi_script_name");
    text.put(1, "}");
}

fn root(site: &Site<'_>, text: &mut Text, pool: &Upstream) {
    let link = Upstream::root_link(&pool.service, "$alcedo_slot");
    text.put(2, &format!("root {}/{link};", site.dir.display()));
}

fn script(site: &Site<'_>, text: &mut Text, pool: &Upstream, script: &str) {
    root(site, text, pool);
    text.put(2, &format!("fastcgi_pass {}.$alcedo_slot;", site.upstream_name(&pool.service)));
    text.put(2, &format!("fastcgi_param SCRIPT_NAME {script};"));
    text.put(2, &format!("fastcgi_param SCRIPT_FILENAME $realpath_root{script};"));
    for (name, value) in PARAMS {
        text.put(2, &format!("fastcgi_param {name} {value};"));
    }
    let (scheme, host) = (site.scheme(), site.host());
    for (name, value) in [
        ("REQUEST_SCHEME", scheme.as_str()),
        ("HTTP_HOST", host),
        ("HTTP_X_REAL_IP", "$remote_addr"),
        ("HTTP_X_FORWARDED_FOR", "$remote_addr"),
        ("HTTP_X_FORWARDED_PROTO", &scheme),
        ("HTTP_X_FORWARDED_HOST", host),
        ("HTTP_X_ALCEDO_SLOT", "\"\""),
        ("HTTP_X_ALCEDO_RELEASE", "\"\""),
    ] {
        text.put(2, &format!("fastcgi_param {name} {value};"));
    }
    text.put(2, "fastcgi_param HTTPS $https if_not_empty;");
    text.put(2, "fastcgi_hide_header X-Alcedo-Slot;");
    let timeout = site.router.timeout.as_millis().max(1);
    text.put(2, &format!("fastcgi_connect_timeout {CONNECT_TIMEOUT};"));
    text.put(2, &format!("fastcgi_send_timeout {timeout}ms;"));
    text.put(2, &format!("fastcgi_read_timeout {timeout}ms;"));
}
