//! Formats the log messages. At `warn`, the default, only mistakes in the variables and waits are
//! logged.

use crate::calls::Kernel;
use crate::endpoint::{Decimal, Endpoint};
use crate::policy::{CloseMode, Options, Reason};
use crate::settings::{Linger, Settings, Text};
use core::fmt;
use log::{Level, Log};

/// An interposed function.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Function {
    /// bind(2)
    Bind,
    /// listen(2)
    Listen,
    /// connect(2)
    Connect,
    /// setsockopt(2)
    Setsockopt,
    /// close(2)
    Close,
}

impl Function {
    /// The function's name. Not by a `match`: the compiler would make that a table of pointers,
    /// each of which the loader has to relocate when it starts a program.
    fn name(self) -> &'static Text<10> {
        static NAMES: [Text<10>; 5] = [
            Text::of("bind"),
            Text::of("listen"),
            Text::of("connect"),
            Text::of("setsockopt"),
            Text::of("close"),
        ];
        NAMES.get(self as usize).unwrap_or(&Text::EMPTY)
    }

    /// Why options are set around it.
    fn why(self, options: Options) -> Plain {
        Plain(match self {
            Self::Bind => "so that other copies can share the port",
            Self::Close => match options.close_mode {
                CloseMode::Reset => "so that it is reset and leaves no TIME_WAIT",
                CloseMode::TimeWait => "so that it keeps its TIME_WAIT: the peer has sent nothing",
                CloseMode::Graceful | CloseMode::Unchanged => "so that it leaves no TIME_WAIT",
            },
            Self::Setsockopt => "because the program had cleared it",
            Self::Listen | Self::Connect => "so that what it leaves behind can be bound over",
        })
    }
}

/// Formats a `str` without width and precision, whose code would take 2 KiB in the shim.
struct Plain(&'static str);

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Logs the settings that apply in this program.
pub fn loaded(log: &impl Log, settings: &Settings) {
    log::debug!(
        logger: log,
        "loaded: reuseaddr {}, linger {}, wait {} ms{}, reuseport {}, ports {}",
        on_or_off(settings.reuse_address),
        Plain(match settings.linger {
            Linger::Off => "off",
            Linger::Graceful => "graceful",
            Linger::Zero => "zero",
        }),
        Decimal(settings.wait_ms),
        Plain(if settings.wait_for_listeners {
            " for listeners too"
        } else {
            ""
        }),
        on_or_off(settings.reuse_port),
        Plain(if settings.ports.all() {
            "all"
        } else {
            "listed"
        }),
    );
}

fn on_or_off(on: bool) -> Plain {
    Plain(if on { "on" } else { "off" })
}

/// Logs that a `bind` that failed with `EADDRINUSE` succeeded at the second try.
pub(crate) fn bound(kernel: &impl Kernel, address: Endpoint, options: Options) {
    bind_with(kernel, address, "was in use, bound with ", options, "");
}

/// Logs that a `bind` that failed with `EADDRINUSE` failed at the second try too.
pub(crate) fn not_bound(
    kernel: &impl Kernel,
    address: Endpoint,
    options: Options,
    still_in_use: bool,
) {
    if still_in_use {
        let causes = " too. That may be a live listener (stop it), a socket that is bound as a \
                      lock, what a run without the shim left behind (LIBREUSE_WAIT=60s outlasts \
                      it), or another program's connection from this port \
                      (net.ipv4.ip_local_reserved_ports keeps it free); `reuseaddr status` shows \
                      which";
        bind_with(kernel, address, "in use, with ", options, causes);
    } else {
        bind_with(
            kernel,
            address,
            "failed otherwise when tried again with ",
            options,
            "",
        );
    }
}

/// Logs the second try of a `bind`, and its options.
#[cold]
#[inline(never)]
fn bind_with(
    kernel: &impl Kernel,
    address: Endpoint,
    before: &'static str,
    options: Options,
    after: &'static str,
) {
    log::info!(
        logger: kernel.log(),
        "bind {address}: {}{options}{}",
        Plain(before),
        Plain(after)
    );
}

/// Logs that there is no second try: it would bind over a live socket.
pub(crate) fn held_by_another(kernel: &impl Kernel, address: Endpoint) {
    let text = "another socket is bound there with SO_REUSEADDR, and may be about to listen";
    bind_fails(kernel, Level::Info, address, text);
}

/// Logs that a `bind` that failed with `EADDRINUSE` begins to wait.
pub(crate) fn waiting(kernel: &impl Kernel, address: Endpoint, wait_ms: u32) {
    log::warn!(
        logger: kernel.log(),
        "bind {address}: in use, waiting for up to {} ms",
        Decimal(wait_ms)
    );
}

/// Logs that there is no wait: a live socket holds the address, and `LIBREUSE_WAIT` does not
/// include `listeners`.
pub(crate) fn not_waiting(kernel: &impl Kernel, address: Endpoint) {
    let text = "not waiting: a live socket holds it (LIBREUSE_WAIT=60s,listeners waits for that \
                too)";
    bind_fails(kernel, Level::Warn, address, text);
}

/// Logs that a signal that asks the program to exit has ended a wait.
pub(crate) fn asked_to_end(kernel: &impl Kernel, address: Endpoint) {
    let text = "in use, and not waiting any longer: a signal asked the program to end";
    bind_fails(kernel, Level::Warn, address, text);
}

/// Logs why a `bind` fails with `EADDRINUSE`. One function, since each such call takes 90 bytes in
/// the shim.
#[cold]
#[inline(never)]
fn bind_fails(kernel: &impl Kernel, level: Level, address: Endpoint, why: &'static str) {
    log::log!(logger: kernel.log(), level, "bind {address}: {}", Plain(why));
}

/// Logs that a `bind` succeeded after a wait.
pub(crate) fn bound_after(
    kernel: &impl Kernel,
    address: Endpoint,
    options: Options,
    waited_ms: u64,
) {
    log::warn!(
        logger: kernel.log(),
        "bind {address}: bound with {options} after {} ms",
        milliseconds(waited_ms)
    );
}

/// Logs that a `bind` failed after a wait.
pub(crate) fn waited_in_vain(
    kernel: &impl Kernel,
    address: Endpoint,
    still_in_use: bool,
    waited_ms: u64,
) {
    let waited = milliseconds(waited_ms);
    if still_in_use {
        log::warn!(
            logger: kernel.log(),
            "bind {address}: still in use after {waited} ms; `reuseaddr status {}` shows by whom",
            Decimal(address.port.into())
        );
    } else {
        log::warn!(logger: kernel.log(), "bind {address}: failed otherwise after {waited} ms");
    }
}

fn milliseconds(value: u64) -> Decimal {
    Decimal(u32::try_from(value).unwrap_or(u32::MAX))
}

/// Whether calls are logged that did not fail with `EADDRINUSE`.
#[inline(always)]
pub(crate) fn logs_calls(kernel: &impl Kernel) -> bool {
    log::log_enabled!(logger: kernel.log(), Level::Debug)
}

/// Logs that options were set around a call.
pub(crate) fn acted(kernel: &impl Kernel, function: Function, place: Place, options: Options) {
    log::debug!(
        logger: kernel.log(),
        "{} {place}: set {options} {}",
        function.name(),
        function.why(options)
    );
}

/// Logs that the kernel refused options around a call, as it does `TCP_LINGER2` for MPTCP.
pub(crate) fn refused(kernel: &impl Kernel, function: Function, place: Place, options: Options) {
    log::debug!(
        logger: kernel.log(),
        "{} {place}: the kernel refused {options}",
        function.name()
    );
}

/// Logs that a call was passed on unchanged, and why.
pub(crate) fn stepped_aside(function: Function, kernel: &impl Kernel, reason: Reason) {
    if log::log_enabled!(logger: kernel.log(), Level::Trace) {
        passed_on(kernel, function, Place::of(kernel), reason);
    }
}

fn passed_on(kernel: &impl Kernel, function: Function, place: Place, reason: Reason) {
    log::trace!(
        logger: kernel.log(),
        "{} {place}: left alone, {}",
        function.name(),
        Plain(reason.text())
    );
}

/// Names a socket in the log: by its local address, or else by its descriptor.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    At(Endpoint),
    Descriptor(i32),
}

impl Place {
    pub(crate) fn of(kernel: &impl Kernel) -> Self {
        kernel
            .local()
            .map_or(Self::Descriptor(kernel.descriptor()), Self::At)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(endpoint) => endpoint.fmt(f),
            Self::Descriptor(number) => {
                f.write_str(if *number < 0 {
                    "descriptor -"
                } else {
                    "descriptor "
                })?;
                Decimal(number.unsigned_abs()).fmt(f)
            }
        }
    }
}
