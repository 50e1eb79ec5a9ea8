//! What the shim says of its work, and in which words. Whoever listens has asked for it: at `warn`, the default,
//! only mistakes in the variables are told.

use crate::sink;
use crate::socket::Socket;
use core::ffi::c_int;
use core::fmt;
use libreuse_rules::endpoint::{Decimal, Endpoint};
use libreuse_rules::policy::{Facts, Options, Reason};
use libreuse_rules::settings::{Complaint, Linger, Settings};
use log::Level;

/// A variable has a value that can't be.
pub(crate) fn mistake(complaint: &Complaint<'_>) {
    sink::mistake(format_args!("{complaint}"));
}

/// The settings are read, and the shim acts in this program.
pub(crate) fn loaded(settings: &Settings) {
    log::info!(
        "loaded: reuseaddr {}, linger {}, wait {} ms, reuseport {}, ports {}",
        OnOff(settings.reuse_address),
        Name(settings.linger),
        Decimal(settings.wait_ms),
        OnOff(settings.reuse_port),
        if settings.ports.all() {
            "all"
        } else {
            "listed"
        },
    );
}

/// A `bind` that had failed with `EADDRINUSE` will be tried again for some time.
pub(crate) fn waiting(address: Option<Endpoint>, wait_ms: u32) {
    if let Some(address) = address {
        log::info!(
            "bind {address}: in use, waiting for up to {} ms",
            Decimal(wait_ms)
        );
    }
}

/// A `bind` that had failed with `EADDRINUSE` was tried again.
pub(crate) fn bound(
    address: Option<Endpoint>,
    options: Options,
    error: Option<c_int>,
    waited_ms: u64,
) {
    let Some(address) = address else {
        return;
    };
    let waited = Decimal(u32::try_from(waited_ms).unwrap_or(u32::MAX));
    match error {
        None if waited_ms == 0 => {
            log::info!("bind {address}: in TIME_WAIT or the like, bound with {options}");
        }
        None => log::info!("bind {address}: was in use, bound with {options} after {waited} ms"),
        Some(libc::EADDRINUSE) => log::info!(
            "bind {address}: still in use after {waited} ms: by a live listener (stop it), by what a run without \
             the shim left behind (LIBREUSE_WAIT=60s outlasts it), or by another program's connection from this \
             port (net.ipv4.ip_local_reserved_ports keeps it free); `reuseaddr status` shows which"
        ),
        Some(_) => log::info!("bind {address}: failed otherwise when tried again with {options}"),
    }
}

/// Options were set around a call.
pub(crate) fn acted(function: &'static str, fd: c_int, options: Options) {
    if log::log_enabled!(Level::Debug) {
        let socket = Place::of(fd);
        let why = match function {
            "bind" => "so that other copies can share the port",
            "close" if options.linger == Linger::Zero => {
                "so that it is reset and leaves no TIME_WAIT"
            }
            "close" => "so that it leaves no TIME_WAIT",
            "setsockopt" => "because the program had cleared it",
            _ => "so that what it leaves behind can be bound over",
        };
        log::debug!("{function} {socket}: set {options} {why}");
    }
}

/// A call was left alone.
pub(crate) fn stepped_aside(function: &'static str, fd: c_int, reason: Reason) {
    if log::log_enabled!(Level::Trace) {
        let socket = Place::of(fd);
        let reason = reason.text();
        log::trace!("{function} {socket}: left alone, {reason}");
    }
}

/// A descriptor as a person knows it: by its local address, or else by its number.
enum Place {
    At(Endpoint),
    Descriptor(c_int),
}

impl Place {
    fn of(fd: c_int) -> Self {
        Socket::borrow(fd)
            .local()
            .map_or(Self::Descriptor(fd), Self::At)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(endpoint) => endpoint.fmt(f),
            Self::Descriptor(fd) => {
                f.write_str(if *fd < 0 {
                    "descriptor -"
                } else {
                    "descriptor "
                })?;
                Decimal(fd.unsigned_abs()).fmt(f)
            }
        }
    }
}

struct OnOff(bool);

impl fmt::Display for OnOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 { "on" } else { "off" })
    }
}

struct Name(Linger);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Linger::Off => "off",
            Linger::Graceful => "graceful",
            Linger::Zero => "zero",
        })
    }
}
