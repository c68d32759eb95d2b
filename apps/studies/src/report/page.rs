//! The page itself: what every study's report shares.

use super::finding::{Finding, Verdict};
use super::table::Table;
use super::tables;
use crate::plot::Figure;
use crate::study::StudyRecord;
use crate::study::is_inner;
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("style.css");

/// The report of a study, before it is put on a page.
pub struct Document<'a> {
    /// Where it came from.
    pub record: &'a StudyRecord,
    /// One or two sentences below the title.
    pub lead: String,
    /// What was found, by headings.
    pub summary: Vec<(String, Vec<Finding>)>,
    /// The rest.
    pub sections: Vec<Section>,
    /// Files with what was found: name, path, what is in it.
    pub files: Vec<(String, String, String)>,
    /// Tables too long for a page: CSV only.
    pub data: Vec<Table>,
}

/// A section of the report.
pub struct Section {
    /// Anchor.
    pub id: String,
    /// Heading.
    pub title: String,
    /// Figures and tables in their order.
    pub parts: Vec<Part>,
}

/// What sections are made of.
pub enum Part {
    /// A heading.
    Heading(String),
    /// A paragraph.
    Text(String),
    /// A figure.
    Figure(Figure),
    /// A table.
    Table(Table),
}

impl Document<'_> {
    /// All figures.
    pub fn figures(&self) -> impl Iterator<Item = &Figure> {
        self.parts().filter_map(|part| if let Part::Figure(figure) = part { Some(figure) } else { None })
    }

    /// All tables, with those at the end of every report.
    pub fn tables(&self) -> Vec<Table> {
        let own =
            self.parts().filter_map(|part| if let Part::Table(table) = part { Some(table.clone()) } else { None });
        own.chain(self.data.iter().cloned()).chain([tables::timings(self.record)]).collect()
    }

    fn parts(&self) -> impl Iterator<Item = &Part> {
        self.sections.iter().flat_map(|section| &section.parts)
    }

    /// The whole page. Nothing in it refers to anything outside of it but files beside it.
    pub fn render(&self) -> Markup {
        let record = self.record;
        let title = if record.title.is_empty() { "Study" } else { &record.title };
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="generator" content=(format!("tallsbi {}", record.version));
                    title { (title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    header {
                        h1 { (title) }
                        p.lead { (self.lead) " Preset or file: " (record.preset) "; seed " (record.seed) "; " (record.created) "." }
                        nav aria-label="Sections" { ul {
                            li { a href="#summary" { "Summary" } }
                            @for section in &self.sections { li { a href=(format!("#{}", section.id)) { (section.title) } } }
                            li { a href="#settings" { "Settings and timings" } }
                            li { a href="#provenance" { "Provenance" } }
                        } }
                    }
                    main {
                        (self.summary())
                        @for section in &self.sections {
                            section id=(section.id) { h2 { (section.title) } @for part in &section.parts { (part.html(&section.title)) } }
                        }
                        (settings(record))
                        (self.provenance())
                    }
                    footer { p { "Made by tallsbi " (record.version) ". All numbers are in " a href="results.json" { "results.json" } ", all tables in " code { "tables/" } ", all figures in " code { "figures/" } "." } }
                }
            }
        }
    }

    fn summary(&self) -> Markup {
        html! {
            section.summary id="summary" {
                h2 { "Summary" }
                @for (heading, findings) in &self.summary {
                    h3 { (heading) }
                    ul.findings { @for (verdict, text) in findings {
                        @let (class, mark) = match verdict {
                            Verdict::Good => ("good", "✓ good"),
                            Verdict::Caution => ("caution", "! look here"),
                            Verdict::Neutral => ("neutral", "result"),
                        };
                        li class=(class) { span.mark { (mark) } span { (text.replace(" %", "\u{a0}%").replace(" = ", "\u{a0}=\u{a0}")) } }
                    } }
                }
            }
        }
    }

    fn provenance(&self) -> Markup {
        let record = self.record;
        html! {
            section id="provenance" {
                h2 { "Provenance" }
                dl {
                    dt { "program" } dd { "tallsbi " (record.version) }
                    dt { "command" } dd { code { (record.command) } }
                    dt { "seed" } dd { (record.seed) }
                    dt { "completed" } dd { (record.created) }
                    @for (name, path, content) in &self.files {
                        dt { (name) }
                        dd {
                            // The user's own files are named, not linked.
                            @if is_inner(path) { a href=(path) { (path) } } @else { code { (path) } }
                            " (" (content) ")"
                        }
                    }
                }
                p { "The same command gives the same numbers on any number of threads. Each step's key is the SHA-256 of its options and of the keys of what it was made from." }
            }
        }
    }
}

impl Part {
    /// HTML in the section of this title.
    fn html(&self, section: &str) -> Markup {
        match self {
            Self::Heading(text) => html! { h3 { (text) } },
            Self::Text(text) => html! { p { (text) } },
            Self::Figure(drawn) => figure(drawn, section),
            Self::Table(table) => table.html(section),
        }
    }
}

fn figure(figure: &Figure, section: &str) -> Markup {
    let file = |extension: &str| format!("figures/{}.{extension}", figure.name);
    html! {
        figure id=(figure.name) style=(format!("max-width: {}px", figure.width() + 28.0)) {
            div.scroll tabindex="0" role="region" aria-label=(format!("{section}: {}", figure.title)) { (PreEscaped(figure.inline_svg())) }
            figcaption {
                (figure.caption) " (" a href=(file("svg")) { "SVG" } ", " a href=(file("png")) { "PNG" }
                @if figure.has_data() { ", " a href=(file("csv")) { "CSV" } } ")"
            }
        }
    }
}

fn settings(record: &StudyRecord) -> Markup {
    html! {
        section id="settings" {
            @let title = "Settings and timings";
            h2 { (title) }
            @let timings = tables::timings(record);
            @if timings.rows.len() <= 60 { (timings.html(title)) }
            @else { details { summary { "Time of each step" } (timings.html(title)) } }
            details { summary { "All options" } (tables::settings(record).html(title)) }
        }
    }
}
