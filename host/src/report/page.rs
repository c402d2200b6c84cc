//! What the HTML pages share: their style, images inside a page, and the engine of their templates, where texts are escaped for HTML, and control characters, which HTML does not allow, are spelled out.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use minijinja::{Environment, Value, escape_formatter};

use crate::say::visible_lines;

/// The style of all pages.
pub(super) const STYLE: &str = include_str!("style.css");

/// A PNG file as the address of an image. Base64 needs no escaping, and escaping each slash would make the page larger.
pub(super) fn inlined(png: &[u8]) -> Value {
    let src = format!("data:image/png;base64,{}", BASE64_STANDARD.encode(png));
    Value::from_safe_string(src)
}

/// An engine without templates.
pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_formatter(|out, state, value| {
        let text = value.as_str().filter(|_| !value.is_safe());
        let spelled = text.map(|text| Value::from(visible_lines(text).into_owned()));
        escape_formatter(out, state, spelled.as_ref().unwrap_or(value))
    });
    environment
}

#[cfg(test)]
mod tests {
    use minijinja::context;

    use super::*;

    #[test]
    fn control_characters_are_spelled_out_and_what_is_trusted_stays() {
        let page = context! {
            name => "<b>\u{1b}[31m\0\nnext",
            svg => Value::from_safe_string("<svg/>".to_owned()),
            n => 3,
        };
        let html = environment().render_named_str("x.html", "{{ name }} {{ svg }} {{ n }}", page);
        assert_eq!(html.unwrap(), "&lt;b&gt;\\u{1b}[31m\\u{0}\nnext <svg/> 3");
    }
}
