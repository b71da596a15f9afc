//! The values of a configuration file and their positions.
//!
//! Deserialization stops at the first mistake. To report all of them, the reader removes the wrong entry from a copy of
//! the file and reads the rest again until no mistake is left.

use std::{collections::BTreeMap, ops::Range};

use serde::Deserialize;
use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue, Deserializer},
};

use super::{Config, renamed, variables};

/// The maximum number of mistakes to report.
const MAX_ROUNDS: usize = 100;

/// Required tables and replacements for them. A replacement is used after a mistake in a table so that the other tables
/// are checked, too.
const STAND_INS: [(&str, &str); 3] = [
    ("store", "stand_in = { path = \"store\" }"),
    ("secrets", "stand_in = { file = \"secrets\" }"),
    ("listeners", "stand_in = []"),
];

/// A step from a table to one of its entries, or from a list to one of its items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// The entry of a table.
    Key(&'a str),
    /// The item of a list.
    Index(usize),
}

impl<'a> From<&'a str> for Step<'a> {
    fn from(key: &'a str) -> Self {
        Self::Key(key)
    }
}

impl From<usize> for Step<'_> {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// The positions of a file's entries.
#[derive(Debug, Default)]
pub(super) struct Positions {
    start: usize,
    entries: BTreeMap<String, Self>,
    items: Vec<Self>,
}

impl Positions {
    fn of_table(start: usize, table: &DeTable<'_>) -> Self {
        let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            (String::from(AsRef::<str>::as_ref(key.get_ref())), Self::of_value(value))
        };
        Self { start, entries: table.iter().map(entry).collect(), items: Vec::new() }
    }

    fn of_value(value: &Spanned<DeValue<'_>>) -> Self {
        let start = value.span().start;
        match value.get_ref() {
            DeValue::Table(table) => Self::of_table(start, table),
            DeValue::Array(list) => {
                Self { start, items: list.iter().map(Self::of_value).collect(), ..Self::default() }
            }
            _ => Self { start, ..Self::default() },
        }
    }

    fn child(&self, step: Step<'_>) -> Option<&Self> {
        match step {
            Step::Key(key) => self.entries.get(key),
            Step::Index(index) => self.items.get(index),
        }
    }

    /// Returns `true` if the file has this entry.
    pub(super) fn has(&self, path: &[Step<'_>]) -> bool {
        path.iter().try_fold(self, |at, step| at.child(*step)).is_some()
    }

    /// Returns the first byte of an entry, or of the innermost enclosing entry in the file.
    pub(super) fn find(&self, path: &[Step<'_>]) -> Option<usize> {
        let (mut at, mut found) = (self, None);
        for step in path {
            let Some(child) = at.child(*step) else { break };
            at = child;
            found = Some(at.start);
        }
        found
    }
}

/// A mistake and its byte position, if known.
pub(super) type Mistake = (Option<usize>, String);

/// The readable part of a file.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) positions: Positions,
    pub(super) mistakes: Vec<Mistake>,
    /// For each list of tables, the indices of the items that were read. Items with mistakes are left out.
    origins: BTreeMap<String, Vec<usize>>,
}

impl Document {
    /// Reads a file. Returns no configuration only if there is a mistake.
    pub(super) fn read(text: &str) -> (Self, Option<Config>) {
        match DeTable::parse(text) {
            Ok(table) => Reading::new(table).finish(),
            Err(error) => {
                let mistake = (error.span().map(|span| span.start), super::words::syntax(error.message()));
                (Self { mistakes: vec![mistake], ..Self::default() }, None)
            }
        }
    }

    /// Converts an index among the items that were read to the index in the file's list.
    pub(super) fn origin(&self, list: &str, index: usize) -> usize {
        self.origins.get(list).and_then(|origins| origins.get(index)).copied().unwrap_or(index)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Key(String),
    Index(usize),
}

struct Reading<'t> {
    original: Spanned<DeTable<'t>>,
    rest: DeTable<'t>,
    mistakes: Vec<Mistake>,
    /// The removed entries: the first byte of the table and the name.
    removed: Vec<(Option<usize>, String)>,
    /// The first bytes of list items and entries of `upstreams` with mistakes.
    wrong: Vec<usize>,
}

impl<'t> Reading<'t> {
    fn new(original: Spanned<DeTable<'t>>) -> Self {
        let rest = original.get_ref().clone();
        Self { original, rest, mistakes: Vec::new(), removed: Vec::new(), wrong: Vec::new() }
    }

    fn finish(mut self) -> (Document, Option<Config>) {
        let renamed = renamed::rename(&mut self.rest).into_iter();
        self.mistakes = renamed.map(|(start, what)| (Some(start), what)).collect();
        self.take_out_variables();
        let mut config = self.deserialize();
        if config.is_some() && !self.wrong.is_empty() {
            self.take_out_wrong();
            config = self.deserialize();
        }
        let positions = Positions::of_table(0, self.original.get_ref());
        let origins = self.origins();
        (Document { positions, mistakes: self.mistakes, origins }, config)
    }

    /// Reports unexpanded variables before deserialization, which would report a malformed address or number instead.
    fn take_out_variables(&mut self) {
        while self.mistakes.len() < MAX_ROUNDS {
            let Some((path, start, variable)) = find_variable(&self.rest) else { break };
            let what = format!("{variable} is not expanded in this file; write the value itself");
            self.mistakes.push((Some(start), what));
            self.take_out(&path);
        }
    }

    fn deserialize(&mut self) -> Option<Config> {
        while self.mistakes.len() < MAX_ROUNDS {
            let table = Spanned::new(self.original.span(), self.rest.clone());
            let error = match Config::deserialize(Deserializer::from(table)) {
                Ok(config) => return Some(config),
                Err(error) => error,
            };
            let missing = super::words::missing_field(error.message());
            let path = error.span().and_then(|span| locate(&self.rest, &span));
            let within = path.as_ref().and_then(|path| start_of(&self.rest, path));
            let known = missing.is_some_and(|name| self.was_removed(within, name));
            if !known {
                let start = error.span().filter(|_| path.is_some()).map(|span| span.start);
                self.mistakes.push((start, super::words::value(error.message())));
            }
            match (path, missing) {
                (Some(path), _) => self.take_out(&path),
                (None, Some(name)) if self.stand_in(name) => {}
                _ => return None,
            }
        }
        None
    }

    fn was_removed(&self, table: Option<usize>, name: &str) -> bool {
        self.removed.iter().any(|(from, removed)| *from == table && removed == name)
    }

    fn stand_in(&mut self, name: &str) -> bool {
        let Some((_, text)) = STAND_INS.iter().find(|(known, _)| *known == name) else { return false };
        let Ok(mut table) = DeTable::parse(text) else { return false };
        let Some(value) = table.get_mut().remove("stand_in") else { return false };
        self.rest.insert(Spanned::new(0..0, name.to_owned().into()), value);
        true
    }

    /// Removes an entry from the rest, and records the list item that contains it.
    fn take_out(&mut self, path: &[Place]) {
        let noted = match path {
            [Place::Key(_), Place::Index(_), ..] => Some(2),
            [Place::Key(name), Place::Key(_), ..] if name == "upstreams" => Some(2),
            _ => None,
        };
        if let Some(start) = noted.and_then(|steps| start_of(&self.rest, &path[..steps])) {
            self.wrong.push(start);
        }
        if let Some((Place::Key(name), above)) = path.split_last() {
            let within = if above.is_empty() { None } else { start_of(&self.rest, above) };
            self.removed.push((within, name.clone()));
        }
        remove(&mut self.rest, path);
    }

    fn take_out_wrong(&mut self) {
        let wrong = |value: &Spanned<DeValue<'_>>| self.wrong.contains(&value.span().start);
        for (name, value) in &mut self.rest {
            match value.get_mut() {
                DeValue::Array(list) => {
                    *list = list.iter().filter(|item| !wrong(item)).cloned().collect();
                }
                DeValue::Table(table) if AsRef::<str>::as_ref(name.get_ref()) == "upstreams" => {
                    let right = table.iter().filter(|(_, value)| !wrong(value));
                    *table = right.map(|(name, value)| (name.clone(), value.clone())).collect();
                }
                _ => {}
            }
        }
    }

    fn origins(&self) -> BTreeMap<String, Vec<usize>> {
        let lists = self.original.get_ref().iter().filter_map(|(name, value)| {
            let DeValue::Array(all) = value.get_ref() else { return None };
            let DeValue::Array(read) = self.rest.get(name)?.get_ref() else { return None };
            let place = |item: &Spanned<DeValue<'_>>| all.iter().position(|one| one.span() == item.span());
            Some((AsRef::<str>::as_ref(name.get_ref()).to_owned(), read.iter().filter_map(place).collect()))
        });
        lists.collect()
    }
}

fn key_of<K: AsRef<str>>(key: &Spanned<K>) -> Place {
    Place::Key(key.get_ref().as_ref().to_owned())
}

/// Returns the path of the innermost entry that contains a span; `None` means the file itself.
fn locate(table: &DeTable<'_>, span: &Range<usize>) -> Option<Vec<Place>> {
    table.iter().find_map(|(key, value)| {
        let mut path = match locate_in(value, span) {
            Some(path) => path,
            None if covers(&key.span(), span) || covers(&value.span(), span) => Vec::new(),
            None => return None,
        };
        path.insert(0, key_of(key));
        Some(path)
    })
}

fn locate_in(value: &Spanned<DeValue<'_>>, span: &Range<usize>) -> Option<Vec<Place>> {
    match value.get_ref() {
        DeValue::Table(table) => locate(table, span),
        DeValue::Array(list) => list.iter().enumerate().find_map(|(at, item)| {
            let mut path = match locate_in(item, span) {
                Some(path) => path,
                None if covers(&item.span(), span) => Vec::new(),
                None => return None,
            };
            path.insert(0, Place::Index(at));
            Some(path)
        }),
        _ => None,
    }
}

fn covers(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end && !outer.is_empty()
}

/// Returns the first variable in a string of the file, with its path and first byte.
fn find_variable(table: &DeTable<'_>) -> Option<(Vec<Place>, usize, String)> {
    table.iter().find_map(|(key, value)| {
        let (mut path, start, variable) = find_variable_in(value)?;
        path.insert(0, key_of(key));
        Some((path, start, variable))
    })
}

fn find_variable_in(value: &Spanned<DeValue<'_>>) -> Option<(Vec<Place>, usize, String)> {
    match value.get_ref() {
        DeValue::String(text) => {
            variables::unexpanded(text).map(|name| (Vec::new(), value.span().start, name.to_owned()))
        }
        DeValue::Table(table) => find_variable(table),
        DeValue::Array(list) => list.iter().enumerate().find_map(|(at, item)| {
            let (mut path, start, variable) = find_variable_in(item)?;
            path.insert(0, Place::Index(at));
            Some((path, start, variable))
        }),
        _ => None,
    }
}

fn start_of(table: &DeTable<'_>, path: &[Place]) -> Option<usize> {
    let (first, below) = path.split_first()?;
    let Place::Key(name) = first else { return None };
    let mut value = table.get(&**name)?;
    for place in below {
        value = match (value.get_ref(), place) {
            (DeValue::Table(table), Place::Key(name)) => table.get(&**name)?,
            (DeValue::Array(list), Place::Index(at)) => list.get(*at)?,
            _ => return None,
        };
    }
    Some(value.span().start)
}

fn remove(table: &mut DeTable<'_>, path: &[Place]) {
    match path {
        [Place::Key(name)] => {
            table.remove(&**name);
        }
        [Place::Key(name), below @ ..] => match table.get_mut(&**name).map(Spanned::get_mut) {
            Some(DeValue::Table(table)) => remove(table, below),
            Some(DeValue::Array(list)) => remove_item(list, below),
            _ => {}
        },
        _ => {}
    }
}

fn remove_item(list: &mut DeArray<'_>, path: &[Place]) {
    match path {
        [Place::Index(at)] => {
            *list =
                list.iter().enumerate().filter(|(one, _)| one != at).map(|(_, item)| item.clone()).collect();
        }
        [Place::Index(at), below @ ..] => match list.get_mut(*at).map(Spanned::get_mut) {
            Some(DeValue::Table(table)) => remove(table, below),
            Some(DeValue::Array(list)) => remove_item(list, below),
            _ => {}
        },
        _ => {}
    }
}
