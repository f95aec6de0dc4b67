//! Reading the inputs and writing the snapshot; the contract is the parent's.
#![forbid(unsafe_code)]

use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

use super::format::Record;
use super::kept::Kept;
use super::table::Table;
use super::{Directory, Form, Found, Input, MOST_TARGETS, Scope, Stamp};
use crate::machine::message::address::Limits;

mod alias_line;
mod aliases;
mod changes;
mod draft;
mod entry;
mod line;
mod notes;
mod place;
mod rows;
mod sender;
mod steps;
mod stored;
mod strangers;
mod targets;
mod text;

use draft::Draft;
pub use notes::Note;
use notes::{Notes, printable};
pub use sender::read_sender;
use strangers::Strangers;
use text::Text;

/// Longest line of the text file that is no alias: an address has at most 320 octets, the rest is for its comment.
pub(super) const MAX_LINE: usize = 2048;
/// Longest line of an alias.
const MAX_ALIAS: usize = MAX_LINE + MAX_TARGETS;
/// Compiling takes 16 octets of memory an entry and 12 to 24 for the table: this bounds it.
const MAX_ENTRIES: usize = 50_000_000;
/// Longest key: quoting and A-labels may lengthen a line that just fits.
const MAX_KEY: usize = 2 * MAX_LINE;
/// Octets of them, one a line.
const MAX_TARGETS: usize = MOST_TARGETS * 1024;
/// Lengths are the session's business: an entry too long for its limits is never asked for.
pub(super) const NO_LIMITS: Limits = Limits { local_part: 0, domain: 0, path: 0 };
const KEPT: &str =
    "Who was known of it stays known, and who is new in it is not found; see the disk and who may read the file";
const FORMS: &str = "Write user@domain, @domain or !user@domain, and comments after #";

/// What `compile` did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Compiled {
    /// Different entries of all inputs.
    pub entries: u64,
    /// What is wrong with the inputs; when there is any, no snapshot was written.
    pub problems: Vec<Note>,
    /// What is in them and does nothing.
    pub warnings: Vec<Note>,
    /// Tables that cannot be read: the snapshot has of them what the one before had.
    pub unread: Vec<Note>,
}

/// What could not be read or written, and why.
#[derive(Debug)]
pub enum Failure {
    /// An input.
    Source(PathBuf, io::Error),
    /// The snapshot, or what becomes one.
    Snapshot(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Snapshot(error)
    }
}

/// An input that is open.
enum Source {
    Text(Text),
    Table(Table),
    Kept(Kept),
}

/// The inputs that are compiled, open.
struct Opened<'a> {
    inputs: &'a [Input],
    sources: Vec<Source>,
    /// What the tables are, a line each.
    states: String,
    scope: &'a Scope,
}

impl Opened<'_> {
    /// The text file, if there is one.
    fn text(&self) -> Option<&Text> {
        self.sources.iter().find_map(|source| if let Source::Text(text) = source { Some(text) } else { None })
    }

    /// The stamp of the text file; zeros without one.
    fn stamp(&self) -> Stamp {
        self.text().map(|text| text.stamp).unwrap_or_default()
    }
}

/// Compiles `inputs` into the snapshot `target`: of several that have an address, the first decides.
///
/// A table that is missing, was not read whole yet or cannot be read counts as the present snapshot has it: its recipients stay known until the
/// source says otherwise. Where the snapshot has nothing of it, it is empty.
/// Where little changed since the snapshot that is there, only that is compiled; then the warnings are about that, too.
pub fn compile(inputs: &[Input], target: &Path, scope: &Scope) -> Result<Compiled, Failure> {
    compile_with(inputs, target, scope, changes::most_of)
}

/// The same with the most addresses that may be others than in a snapshot of so many entries.
pub(super) fn compile_with(
    inputs: &[Input],
    target: &Path,
    scope: &Scope,
    most: fn(u64) -> u64,
) -> Result<Compiled, Failure> {
    let mut unread: Vec<Note> = Vec::new();
    loop {
        match compile_without(&unread, inputs, target, scope, most) {
            Err(Failure::Source(path, error)) => {
                let is_new =
                    |input: &&Input| input.path == path && unread.iter().all(|(number, _)| *number != input.number);
                let Some(table) = inputs.iter().filter(|input| input.is_table()).find(is_new) else {
                    return Err(Failure::Source(path, error));
                };
                unread.push((table.number, format!("{} cannot be read: {error}. {KEPT}", path.display())));
            }
            Ok(compiled) => return Ok(Compiled { unread, ..compiled }),
            failed => return failed,
        }
    }
}

/// The same without the tables of which `unread` says that they cannot be read.
fn compile_without(
    unread: &[Note],
    inputs: &[Input],
    target: &Path,
    scope: &Scope,
    most: fn(u64) -> u64,
) -> Result<Compiled, Failure> {
    let open = |input: &Input| open(input, target, unread.iter().all(|(number, _)| *number != input.number));
    let sources = inputs.iter().map(open).collect::<Result<Vec<Source>, Failure>>()?;
    let states = states(inputs, &sources, scope)?;
    let opened = Opened { inputs, sources, states, scope };
    // What cannot be read or written says so again when all is compiled.
    match changes::compile(&opened, target, most) {
        Ok(Some(compiled)) => Ok(compiled),
        Ok(None) | Err(_) => compile_all(&opened, target),
    }
}

fn compile_all(opened: &Opened<'_>, target: &Path) -> Result<Compiled, Failure> {
    let Opened { inputs, sources, states, scope } = opened;
    let mut draft = Draft::create(target, &scope.text(inputs), states)?;
    let (mut problems, mut warnings, mut strangers) = (Notes::default(), Notes::default(), Strangers::default());
    for (input, source) in inputs.iter().zip(sources) {
        match source {
            Source::Text(text) => text.read(&mut draft, scope, &mut problems, &mut strangers)?,
            Source::Table(table) => rows::read(input, table, &mut draft, scope, &mut warnings, &mut strangers)?,
            Source::Kept(kept) => rows::keep(kept, &mut draft, scope, &mut strangers)?,
        }
        draft.end_input();
    }
    let entries = draft.build_table(|first, second| repeated(inputs, &first, &second, &mut problems, &mut warnings))?;
    if problems.is_empty() {
        aliases::follow(&mut draft, scope, &mut problems, &mut warnings)?;
    }
    if problems.is_empty() && scope.form == Form::Recipients && all_read(states) {
        if entries == 0 {
            let rest = format!("{FORMS}, or set no recipient file");
            problems.add(0, format!("it lists no recipient, so every recipient would be refused. {rest}"));
        } else if let Some(sentence) = strangers.all(scope) {
            problems.add(0, sentence);
        }
    }
    if opened.text().map_or(Ok(false), Text::has_changed)? {
        problems.add(0, "it was changed while it was read. Write a new file beside it and rename it".to_owned());
    }
    if problems.is_empty() {
        draft.publish(target, entries, opened.stamp(), strangers.ours)?;
        let warnings = strangers.list().into_iter().chain(warnings.list()).collect();
        return Ok(Compiled { entries, warnings, ..Compiled::default() });
    }
    Ok(Compiled { entries, problems: problems.list(), ..Compiled::default() })
}

/// Opens an input; of a table that `is_readable` is not, or that was not read whole yet, what the snapshot at `target` has of it.
fn open(input: &Input, target: &Path, is_readable: bool) -> Result<Source, Failure> {
    if !input.is_table() {
        return Text::open(&input.path).map(Source::Text);
    }
    let wrong = |error| Failure::Source(input.path.clone(), error);
    let table = if is_readable { Table::open(&input.path).map_err(wrong)? } else { Table::missing() };
    if !table.state().map_err(wrong)?.is_empty() {
        return Ok(Source::Table(table));
    }
    let kept = Directory::open(target).ok().and_then(|in_force| Kept::of(in_force, input));
    Ok(kept.map_or(Source::Table(table), Source::Kept))
}

/// Whether every table was read whole once: until then, an address that is not found is unknown and not refused.
fn all_read(states: &str) -> bool {
    states.lines().all(|line| line.split_once(' ').is_some_and(|(_, state)| !state.is_empty()))
}

/// What the tables are, a line each.
fn states(inputs: &[Input], sources: &[Source], scope: &Scope) -> Result<String, Failure> {
    let mut lines = String::new();
    for (input, source) in inputs.iter().zip(sources) {
        let state = match source {
            Source::Text(_) => continue,
            Source::Table(table) => table.state().map_err(|error| Failure::Source(input.path.clone(), error))?,
            Source::Kept(kept) => kept.state(scope),
        };
        let _ = writeln!(lines, "{} {state}", input.number); // to a String it cannot fail
    }
    Ok(lines)
}

/// Notes what two records of one key say, where they contradict each other: in one text file that is a mistake.
fn repeated(inputs: &[Input], first: &Record<'_>, second: &Record<'_>, problems: &mut Notes, warnings: &mut Notes) {
    if first.kind == second.kind && first.targets == second.targets {
        return;
    }
    let opposite =
        if first.kind == Found::Excluded || second.kind == Found::Excluded { "the opposite" } else { "something else" };
    let key = printable(second.key);
    let place = |record: &Record<'_>| match inputs.iter().find(|input| input.number == record.source) {
        Some(input) if input.is_table() => format!("entry {} of {}", record.line, input.name),
        _ => format!("line {}", record.line),
    };
    let (decides, other) = (place(first), place(second));
    if first.source == 0 && second.source == 0 {
        problems.add(0, format!("{other}: \"{key}\": {decides} says {opposite}. Keep one of the two lines"));
    } else {
        warnings.add(second.source, format!("{other}: \"{key}\": {decides} says {opposite}, and comes first"));
    }
}
