//! What the loader calls, once: finds the real functions and reads the settings, before the program's `main`.

use crate::{errno, real, sink};
use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char, c_int};
use core::sync::atomic::{AtomicBool, Ordering};
use libreuse_rules::report;
use libreuse_rules::settings::{Complaint, PREFIX, SETTINGS, Settings};

static STORE: Store = Store {
    settings: UnsafeCell::new(Settings::DEFAULT),
    ready: AtomicBool::new(false),
};

/// The settings: the constructor writes them, and from then on they are only read.
struct Store {
    settings: UnsafeCell<Settings>,
    ready: AtomicBool,
}

// SAFETY: the constructor alone writes to `settings`, and nobody reads them before it has set `ready`.
unsafe impl Sync for Store {}

/// The settings, if the shim is to act in this program: `None` before our constructor has run, and where
/// `LIBREUSE_PROGRAMS` leaves the program out.
#[inline]
pub(crate) fn settings() -> Option<&'static Settings> {
    if STORE.ready.load(Ordering::Acquire) {
        // SAFETY: the last write to them came before `ready` was set.
        Some(unsafe { &*STORE.settings.get() })
    } else {
        None
    }
}

// SAFETY: the section holds functions of this type, and glibc calls each of them once (elf/dl-init.c).
#[unsafe(link_section = ".init_array")]
#[used]
static CONSTRUCTOR: unsafe extern "C" fn(c_int, *const *const c_char, *const *const c_char) = load;

/// # Safety
///
/// * This is the only call.
/// * `arguments` and `environment` are arrays of C strings, each ending with a null pointer, which nobody changes
///   during the call. glibc hands them to every constructor, also of a library that is opened later.
unsafe extern "C" fn load(
    _: c_int,
    arguments: *const *const c_char,
    environment: *const *const c_char,
) {
    let errno_before = errno::get();
    real::resolve_all();
    // SAFETY: this is the only call, and `ready` is not set yet: nobody else looks at them.
    let settings = unsafe { &mut *STORE.settings.get() };
    // SAFETY: the caller's promise.
    let arguments = unsafe { Strings::borrow(arguments) };
    // SAFETY: the caller's promise.
    let environment = unsafe { Strings::borrow(environment) };

    let mut mistakes = false;
    if !runs_with_more_rights_than_its_caller() {
        read(settings, &environment, |_| mistakes = true);
    }
    if chosen(settings, arguments) {
        sink::open(settings, mistakes);
        if mistakes {
            // Only now is it known whether they are to be told: LIBREUSE_LOG may be among the variables.
            read(settings, &environment, |complaint| {
                sink::mistake(format_args!("{complaint}"));
            });
        }
        STORE.ready.store(true, Ordering::Release);
        if let Some(settings) = self::settings() {
            report::loaded(settings);
        }
    }
    errno::set(errno_before);
}

/// Whether the program is setuid or the like, where the caller's variables must count for nothing: the question that
/// `secure_getenv(3)` asks.
fn runs_with_more_rights_than_its_caller() -> bool {
    // SAFETY: getauxval takes any number (getauxval(3)).
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Takes every `LIBREUSE_` variable into the settings. Of two with the same name the first counts, as for `getenv`.
fn read(settings: &mut Settings, environment: &Strings, mut complain: impl FnMut(Complaint<'_>)) {
    if variables(environment).next().is_none() {
        return;
    }
    for setting in &SETTINGS {
        let named = |&(name, _): &(&[u8], &[u8])| name == setting.name.as_bytes();
        if let Some((name, value)) = variables(environment).find(named) {
            settings.set(name, value).unwrap_or_else(&mut complain);
        }
    }
    let unknown = |&(name, _): &(&[u8], &[u8])| {
        SETTINGS
            .iter()
            .all(|setting| setting.name.as_bytes() != name)
    };
    for (name, value) in variables(environment).filter(unknown) {
        settings.set(name, value).unwrap_or_else(&mut complain);
    }
}

/// The names and values of the `LIBREUSE_` variables.
fn variables(environment: &Strings) -> impl Iterator<Item = (&'static [u8], &'static [u8])> {
    environment
        .clone()
        .filter(|entry| entry.starts_with(PREFIX))
        .filter_map(|entry| {
            let mut halves = entry.splitn(2, |&byte| byte == b'=');
            Some((halves.next()?, halves.next()?))
        })
}

/// Whether the shim is to act in this program: by the name it was started under, by that of a script, which is the first
/// argument of its interpreter that is no option, or by that of its file.
fn chosen(settings: &Settings, mut arguments: Strings) -> bool {
    let named = |path: &[u8]| settings.programs.contains(file_name(path));
    if settings.programs.all()
        || arguments.next().is_some_and(named)
        || arguments
            .find(|word| !word.starts_with(b"-"))
            .is_some_and(named)
    {
        return true;
    }
    let mut path = [0_u8; 4096];
    // SAFETY: the kernel writes at most as many bytes as the buffer has.
    let length = unsafe {
        libc::readlink(
            c"/proc/self/exe".as_ptr(),
            (&raw mut path).cast::<c_char>(),
            path.len(),
        )
    };
    let path = usize::try_from(length)
        .ok()
        .and_then(|length| path.get(..length));
    path.is_some_and(|path| settings.programs.contains(file_name(path)))
}

fn file_name(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
}

/// The strings of an array such as `argv`.
#[derive(Clone)]
struct Strings(*const *const c_char);

impl Strings {
    /// # Safety
    ///
    /// * `array` is null, or an array of C strings that ends with a null pointer.
    /// * Array and strings stay as they are while the iterator and its strings are in use.
    unsafe fn borrow(array: *const *const c_char) -> Self {
        Self(array)
    }
}

impl Iterator for Strings {
    type Item = &'static [u8];

    fn next(&mut self) -> Option<&'static [u8]> {
        if self.0.is_null() {
            return None;
        }
        // SAFETY: the array has not ended yet (see `borrow`).
        let string = unsafe { self.0.read() };
        if string.is_null() {
            return None;
        }
        // SAFETY: an entry was there, so there is another one or the end.
        self.0 = unsafe { self.0.add(1) };
        // SAFETY: an entry that is not null is a C string (see `borrow`).
        Some(unsafe { CStr::from_ptr(string) }.to_bytes())
    }
}
