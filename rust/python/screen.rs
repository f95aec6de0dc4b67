//! Binding of `crate::store::screen`.

use std::net::IpAddr;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::limits::{MonotonicClock, RateLimits};
use super::lists::ListSnapshot;
use super::normalisation::Normalisation;
use super::session::Session;
use super::snapshot::{Directory, SenderTable};
use crate::machine::smtp::server::session::Session as Machine;
use crate::machine::smtp::server::step::{Stage, Step, Verdict};
use crate::store::screen::{self, Agents, Case, Check, CleanSenders, HeloNames, KnownRecipients, Names};

/// See `_native.pyi`.
#[pyclass(module = "mailmoat._native")]
pub struct Tables {
    rates: Py<RateLimits>,
    clock: Py<MonotonicClock>,
    lists: Option<Py<ListSnapshot>>,
    senders: Option<Py<SenderTable>>,
    recipients: Option<Py<Directory>>,
    is_pressed: bool,
}

#[pymethods]
impl Tables {
    #[new]
    fn new(rates: Py<RateLimits>, clock: Py<MonotonicClock>) -> Self {
        Self { rates, clock, lists: None, senders: None, recipients: None, is_pressed: false }
    }

    fn use_lists(&mut self, lists: Option<Py<ListSnapshot>>) {
        self.lists = lists;
    }

    fn use_senders(&mut self, senders: Option<Py<SenderTable>>) {
        self.senders = senders;
    }

    fn use_recipients(&mut self, recipients: Option<Py<Directory>>) {
        self.recipients = recipients;
    }

    fn press(&mut self, is_pressed: bool) {
        self.is_pressed = is_pressed;
    }
}

impl Tables {
    fn view(&self) -> screen::Tables<'_> {
        let rates = self.rates.get();
        screen::Tables {
            shared: &rates.shared.get().inner,
            limits: &rates.limits,
            clock: &self.clock.get().0,
            lists: self.lists.as_ref().map(|lists| &*lists.get().0),
            senders: self.senders.as_ref().map(|senders| &senders.get().0),
            recipients: self.recipients.as_ref().map(|recipients| &recipients.get().0),
            is_pressed: self.is_pressed,
        }
    }
}

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
struct Condition(Arc<screen::Condition>);

impl From<screen::Condition> for Condition {
    fn from(condition: screen::Condition) -> Self {
        Self(Arc::new(condition))
    }
}

#[pymethods]
impl Condition {
    #[staticmethod]
    fn no_pressure() -> Self {
        screen::Condition::NoPressure.into()
    }

    #[staticmethod]
    #[pyo3(signature = (waits, spends, *, of_null_sender = None))]
    fn within_rates(waits: u32, spends: u32, of_null_sender: Option<u32>) -> Self {
        let of_null_sender = of_null_sender.unwrap_or(spends);
        screen::Condition::WithinRates { waits, spends, of_null_sender }.into()
    }

    #[staticmethod]
    fn few_unknown(parts: u64) -> Self {
        screen::Condition::FewUnknown(parts).into()
    }

    #[staticmethod]
    fn unlisted() -> Self {
        screen::Condition::Unlisted.into()
    }

    #[staticmethod]
    fn not_blocked() -> Self {
        screen::Condition::NotBlocked.into()
    }

    #[staticmethod]
    fn level_below(level: u8) -> Self {
        screen::Condition::LevelBelow(level).into()
    }

    #[staticmethod]
    fn ordinary_helo(own: Vec<String>) -> Self {
        screen::Condition::OrdinaryHelo(HeloNames(Names::new(own))).into()
    }

    #[staticmethod]
    #[pyo3(signature = (*, blocked, delimiters, reserved, takes_null))]
    fn clean_sender(blocked: Vec<String>, delimiters: String, reserved: Vec<String>, takes_null: bool) -> Self {
        let (blocked, reserved) = (Names::new(blocked), Names::new(reserved));
        screen::Condition::CleanSender(CleanSenders { blocked, delimiters, reserved, takes_null }).into()
    }

    #[staticmethod]
    #[pyo3(signature = (*, blocked, delimiters))]
    fn clean_authors(blocked: Vec<String>, delimiters: String) -> Self {
        let (blocked, reserved) = (Names::new(blocked), Names::default());
        screen::Condition::CleanAuthors(CleanSenders { blocked, delimiters, reserved, takes_null: true }).into()
    }

    #[staticmethod]
    fn sender_elsewhere(domains: Vec<String>) -> Self {
        screen::Condition::SenderElsewhere(Names::new(domains)).into()
    }

    #[staticmethod]
    fn no_submitter() -> Self {
        screen::Condition::NoSubmitter.into()
    }

    #[staticmethod]
    fn recipient_at(domains: Vec<String>) -> Self {
        screen::Condition::RecipientAt(Names::new(domains)).into()
    }

    #[staticmethod]
    #[pyo3(signature = (*, local, blocked, roles, normalisation))]
    fn known_recipient(
        local: Vec<String>,
        blocked: Vec<String>,
        roles: Vec<String>,
        normalisation: &Normalisation,
    ) -> Self {
        let (local, blocked, normalisation) = (Names::new(local), Names::new(blocked), Arc::clone(&normalisation.0));
        screen::Condition::KnownRecipient(KnownRecipients { local, blocked, roles, normalisation }).into()
    }
}

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
pub struct Screen {
    inner: screen::Screen,
    tables: Py<Tables>,
    /// Stages that are never passed here, as `1 << stage`.
    crossed: u8,
}

#[pymethods]
impl Screen {
    #[new]
    #[allow(clippy::needless_pass_by_value)] // PyO3 hands arguments over by value
    fn new(tables: Py<Tables>, stages: Vec<Vec<Option<Vec<PyRef<'_, Condition>>>>>, crossed: u8) -> PyResult<Self> {
        let check = |agent: &Option<Vec<PyRef<'_, Condition>>>| match agent {
            None => Check::Always,
            Some(conditions) => Check::Unless(conditions.iter().map(|condition| Arc::clone(&condition.0)).collect()),
        };
        let stages = stages.iter().map(|agents| agents.iter().map(check).collect()).collect();
        let inner = screen::Screen::new(stages)
            .ok_or_else(|| PyValueError::new_err("one list for each stage, of 64 agents at most"))?;
        Ok(Self { inner, tables, crossed })
    }
}

impl Screen {
    fn asked(&self, py: Python<'_>, stage: Stage, session: &Machine, address: IpAddr) -> Agents {
        let tables = self.tables.borrow(py);
        self.inner.asked(stage, Case { session, address, tables: tables.view() })
    }
}

/// The screen of a session, and the address of its client.
pub struct Screened {
    screen: Py<Screen>,
    address: IpAddr,
}

#[pymethods]
impl Session {
    fn screen(&mut self, screen: Py<Screen>) {
        self.screened = self.inner.peer().parse().ok().map(|address| Screened { screen, address });
    }

    /// See `_native.pyi`.
    #[getter]
    fn asked(&self) -> Agents {
        self.asked
    }
}

impl Session {
    /// Passes the stages at which nobody is to be asked.
    pub(super) fn pass_screened(&mut self, py: Python<'_>, mut step: Step) -> Step {
        self.asked = screen::ALL;
        while let (Step::Ask(stage), Some(Screened { screen, address })) = (step, &self.screened) {
            let screen = screen.get();
            self.asked = screen.asked(py, stage, &self.inner, *address);
            if self.asked != 0 || screen.crossed & 1 << stage as u8 != 0 {
                break;
            }
            step = self.inner.answer(Verdict::Pass);
        }
        if step == Step::Secured {
            self.screened = None; // its client is another one to policy
        }
        step
    }
}

/// Adds this module's classes to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Tables>()?;
    module.add_class::<Condition>()?;
    module.add_class::<Screen>()
}
