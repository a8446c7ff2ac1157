//! What the pages share: the frame with its styles, and the parts that stand in more than one.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::plot::{Figure, dark_rules};

/// What a page has beyond the styles that all have.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Extras<'a> {
    /// Rules of its own.
    pub(super) style: &'a str,
    /// Run in this order, when the page is there.
    pub(super) scripts: &'a [&'a str],
}

/// A page of a title, a sentence that says it all, and sections.
pub(super) fn page(title: &str, headline: &str, sections: &Markup) -> String {
    page_with(title, headline, sections, Extras::default())
}

/// A page with styles and scripts of its own; scripts are text of this crate, never of a record.
pub(super) fn page_with(title: &str, headline: &str, sections: &Markup, extras: Extras<'_>) -> String {
    let policy = match extras.scripts {
        [] => "default-src 'none'; style-src 'unsafe-inline'",
        _ => {
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
        }
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(policy);
                title { (title) }
                style { (PreEscaped(include_str!("style.css"))) (PreEscaped(dark_style())) (PreEscaped(extras.style)) }
            }
            body {
                main {
                    header {
                        h1 { (title) }
                        p.headline { (headline.replace(" %", "\u{a0}%")) }
                    }
                    (sections)
                }
                @for script in extras.scripts { script { (PreEscaped(script)) } }
            }
        }
    };
    let mut text = page.into_string();
    text.push('\n');
    text
}

fn dark_style() -> String {
    format!("@media screen and (prefers-color-scheme: dark) {{\n{}}}\n", dark_rules())
}

pub(super) fn warned(warnings: &[String]) -> Markup {
    html! {
        @if !warnings.is_empty() {
            section.warnings aria-labelledby="warnings" {
                h2 #warnings { "Warnings" }
                ul { @for warning in warnings { li { (warning) } } }
            }
        }
    }
}

pub(super) fn drawings(all: &[Figure]) -> Markup {
    html! {
        @if !all.is_empty() {
            section { h2 { "Figures" } @for one in all { (figure(one)) } }
        }
    }
}

fn figure(figure: &Figure) -> Markup {
    let Figure { title, caption, description, width, height, marks } = figure;
    html! {
        figure {
            h3 { (title) }
            @match marks {
                Some(marks) => div.scroll {
                    svg.chart viewBox={ "0 0 " (width) " " (height) } width=(width) height=(height) role="img"
                        aria-label={ (title) ". " (description) } style={ "min-width:" (width * 7 / 10) "px" } {
                        (PreEscaped(marks))
                    }
                },
                None => p { "This figure could not be drawn." },
            }
            figcaption { (caption) }
        }
    }
}

/// A drawing as a file of its own, on white; `None` where drawing failed.
pub(super) fn svg_file(figure: &Figure) -> Option<String> {
    let Figure { title, description, width, height, marks, .. } = figure;
    let marks = marks.as_ref()?;
    let svg = html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (width) " " (height) } width=(width) height=(height)
            role="img" {
            title { (title) }
            desc { (description) }
            rect width="100%" height="100%" fill="#ffffff" {}
            (PreEscaped(marks))
        }
    };
    Some(svg.into_string() + "\n")
}

/// Under what circumstances the numbers were won, and the settings behind them.
pub(super) fn circumstances(known: &[(&str, String)], settings: &serde_json::Value) -> Markup {
    html! {
        @if !known.is_empty() || !settings.is_null() {
            section {
                h2 { "Circumstances" }
                dl { @for (name, value) in known { dt { (name) } dd { (value) } } }
                @if !settings.is_null() {
                    details {
                        summary { "Settings" }
                        pre { (format!("{settings:#}")) }
                    }
                }
            }
        }
    }
}

pub(super) fn table(caption: &str, head: Markup, body: Markup) -> Markup {
    html! {
        div.scroll { table { caption { (caption) } thead { (head) } tbody { (body) } } }
    }
}

/// The text, or a mark that says that there is none.
pub(super) fn absent(text: Option<&str>) -> Markup {
    match text {
        Some(text) => html! { (text) },
        None => html! { span.absent title="not measured" { "–" } },
    }
}
