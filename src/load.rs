//! What the loader calls, once: finds the real functions and reads the settings, before the
//! program's `main`. If a constructor of another library calls a hook first, the settings are read
//! then.

use crate::sink::{self, Sink};
use crate::{copies, errno, file, real};
use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char, c_ulong};
use core::marker::PhantomData;
use core::mem;
use core::sync::atomic::AtomicU8;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use libreuse_rules::report;
use libreuse_rules::settings::{PREFIX, Programs, Settings, VARIABLES};

static STORE: Store = Store {
    settings: UnsafeCell::new(Settings::UNSET),
    state: AtomicU8::new(UNREAD),
};

/// The settings: the thread that has brought the state from `UNREAD` to `READING` writes them, and
/// from `READ` on they are only read.
struct Store {
    settings: UnsafeCell<Settings>,
    state: AtomicU8,
}

const UNREAD: u8 = 0;
const READING: u8 = 1;
const READ: u8 = 2;
/// The shim is not to act in this program.
const OFF: u8 = 3;

// SAFETY: one thread alone writes to `settings`, and nobody reads them before it has set the state
// to `READ`.
unsafe impl Sync for Store {}

/// The settings, if the shim is to act in this program: `None` where `LIBREUSE_PROGRAMS` leaves it
/// out, and while they are being read.
#[inline(always)]
pub(crate) fn settings() -> Option<&'static Settings> {
    match STORE.state.load(Acquire) {
        // SAFETY: the last write to them came before the state was set.
        READ => Some(unsafe { &*STORE.settings.get() }),
        UNREAD => before_our_constructor(),
        _ => None,
    }
}

/// The settings, for a hook that another library's constructor has called. Those run in the thread
/// that loads the program: others could read an environment that this one is changing.
#[cold]
#[inline(never)]
fn before_our_constructor() -> Option<&'static Settings> {
    errno::kept(|| {
        // SAFETY: it takes nothing.
        let process = unsafe { libc::syscall(libc::SYS_getpid) };
        // SAFETY: it takes nothing.
        let thread = unsafe { libc::syscall(libc::SYS_gettid) };
        if thread == process {
            read_once();
        }
    });
    if STORE.state.load(Acquire) == READ {
        // SAFETY: the last write to them came before the state was set.
        Some(unsafe { &*STORE.settings.get() })
    } else {
        None
    }
}

// SAFETY: the section holds functions, each of which the loader calls once (elf/dl-init.c in glibc,
// ldso/dynlink.c in musl). glibc hands them the program's arguments and environment; musl hands
// them nothing.
#[unsafe(link_section = ".init_array")]
#[used]
static CONSTRUCTOR: unsafe extern "C" fn() = load;

/// # Safety
///
/// libc has been initialised.
unsafe extern "C" fn load() {
    errno::kept(|| {
        real::resolve_all();
        read_once();
    });
}

/// Reads the settings, unless that has been done, or is being done: by the code that a signal
/// handler has interrupted, for one.
fn read_once() {
    if STORE
        .state
        .compare_exchange(UNREAD, READING, Acquire, Relaxed)
        .is_err()
    {
        return;
    }
    if copies::another_copy_follows() {
        STORE.state.store(OFF, Relaxed);
        return;
    }
    // SAFETY: nobody else has got past the exchange, and until the state is `READ` nobody looks at
    // them.
    let settings: &'static mut Settings = unsafe { &mut *STORE.settings.get() };
    settings.set_defaults();
    // SAFETY: libc has set it before it called any constructor.
    let environment = unsafe { ENVIRON };
    // SAFETY: it is null, or an array of strings as execve(2) describes it; and it stays as it is,
    // since no other thread may change it while this one calls what reads it, as dlopen does
    // (environ(7), attributes(7)).
    let environment = unsafe { Strings::borrow(environment) };

    // Not asked where no variable is set.
    let rights = variables(&environment).next().map(|_| rights());
    let are_mistaken =
        rights == Some(Rights::OfItsCaller) && read(settings, &environment, Mistakes::Seen);
    // Where nobody can tell, it may be a program that LIBREUSE_PROGRAMS leaves out.
    if rights == Some(Rights::Unknown) || !chosen(settings) {
        STORE.state.store(OFF, Relaxed);
        return;
    }
    if are_mistaken && sink::open_for_mistakes(settings) {
        // Only now is it known whether they are to be reported: LIBREUSE_LOG may be among the
        // variables.
        read(settings, &environment, Mistakes::Told);
    }
    let settings = &*settings;
    STORE.state.store(READ, Release);
    sink::open(settings);
    report::loaded(&Sink, settings);
}

unsafe extern "C" {
    // The name that both glibc and musl have, and that fewer programs define for themselves than
    // `environ`, which is the same variable.
    #[link_name = "__environ"]
    static mut ENVIRON: *const *const c_char;
}

/// Whose rights a program runs with.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Rights {
    OfItsCaller,
    /// It is setuid or the like: the caller's variables must count for nothing.
    More,
    Unknown,
}

/// Asks the question that `secure_getenv(3)` asks.
fn rights() -> Rights {
    // SAFETY: the type is that of the declaration in getauxval(3).
    let getauxval: Option<Getauxval> = unsafe { mem::transmute(real::find(c"getauxval")) };
    // SAFETY: getauxval takes any number.
    let from_libc = getauxval.map(|getauxval| unsafe { getauxval(libc::AT_SECURE) });
    match from_libc.or_else(at_secure_of_the_kernel) {
        Some(0) => Rights::OfItsCaller,
        Some(_) => Rights::More,
        None => Rights::Unknown,
    }
}

type Getauxval = unsafe extern "C" fn(c_ulong) -> c_ulong;

/// `AT_SECURE` as the kernel has passed it to the program (proc(5)); `None` if it does not tell.
fn at_secure_of_the_kernel() -> Option<c_ulong> {
    const WORD: usize = size_of::<c_ulong>();
    let mut room = [0; 1024];
    let length = file::read_begin(c"/proc/self/auxv", &mut room);
    let pairs = room.get(..length)?.chunks_exact(2 * WORD);
    pairs.into_iter().find_map(|pair| {
        let (kind, value) = pair.split_first_chunk::<WORD>()?;
        let value = value.first_chunk::<WORD>()?;
        (c_ulong::from_ne_bytes(*kind) == libc::AT_SECURE).then(|| c_ulong::from_ne_bytes(*value))
    })
}

/// What is done about a mistake in a variable.
#[derive(Clone, Copy)]
enum Mistakes {
    Seen,
    Told,
}

/// Takes every `LIBREUSE_` variable into the settings; whether there is a mistake in one. Of two
/// with the same name the first counts, as for `getenv`.
fn read(settings: &mut Settings, environment: &Strings<'_>, mistakes: Mistakes) -> bool {
    let mut are_there = false;
    let place_of = |name: &[u8]| {
        let mut names = VARIABLES.iter().map(|variable| variable.name.as_bytes());
        names.position(|known| known == name)
    };
    // In the order of the table, and after them those that are not in it.
    let places = (0..VARIABLES.len()).map(Some).chain([None]);
    for place in places {
        for (name, value) in variables(environment) {
            if place_of(name) != place {
                continue;
            }
            if let Err(complaint) = settings.set(name, value) {
                are_there = true;
                if matches!(mistakes, Mistakes::Told) {
                    sink::mistake(format_args!("{complaint}"));
                }
            }
            if place.is_some() {
                break;
            }
        }
    }
    are_there
}

/// The names and values of the `LIBREUSE_` variables.
fn variables<'a>(environment: &Strings<'a>) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    environment
        .clone()
        .filter(|entry| entry.begins(PREFIX))
        .filter_map(|entry| {
            let mut halves = entry.bytes().splitn(2, |&byte| byte == b'=');
            Some((halves.next()?, halves.next()?))
        })
}

/// Whether the shim is to act in this program: by the name it was started under, by that of a
/// script, which is the first argument of its interpreter that is no option, or by that of its
/// file.
fn chosen(settings: &Settings) -> bool {
    let programs = &settings.programs;
    if programs.all() || is_among(programs, started_as()) {
        return true;
    }
    let mut room = [0; 4096];
    is_named_on_the_command_line(programs, &mut room) || is_among(programs, executable(&mut room))
}

/// Whether the name that the program was started under is among them, or the first of its arguments
/// that is no option, as far as there is room. musl hands its constructors no arguments, so the
/// kernel is asked (proc(5)).
fn is_named_on_the_command_line(programs: &Programs, room: &mut [u8]) -> bool {
    let length = file::read_begin(c"/proc/self/cmdline", room);
    let mut arguments = room
        .get(..length)
        .unwrap_or_default()
        .split(|&byte| byte == 0);
    let started_as = arguments.next().unwrap_or_default();
    let script = arguments.find(|word| !word.starts_with(b"-"));
    is_among(programs, started_as) || is_among(programs, script.unwrap_or_default())
}

/// The program's `argv[0]`, where the kernel need not be asked: as both glibc and musl have it.
/// Fewer programs have this name than `program_invocation_name`, which is the same variable.
fn started_as<'a>() -> &'a [u8] {
    let place = real::find(c"__progname_full").cast::<*const c_char>();
    if place.is_null() {
        return &[];
    }
    // SAFETY: it is the variable of that name, which libc has set before it called the constructor.
    let name = unsafe { place.read() };
    if name.is_null() {
        return &[];
    }
    // SAFETY: it is a C string, which the program does not change meanwhile (see `load`).
    unsafe { CStr::from_ptr(name) }.to_bytes()
}

/// The path of the program's file, as far as there is room for it.
fn executable(room: &mut [u8]) -> &[u8] {
    // SAFETY: the kernel writes at most as many bytes as there is room for.
    let length = unsafe {
        libc::syscall(
            libc::SYS_readlinkat,
            libc::AT_FDCWD,
            c"/proc/self/exe".as_ptr(),
            room.as_mut_ptr(),
            room.len(),
        )
    };
    usize::try_from(length)
        .ok()
        .and_then(|length| room.get(..length))
        .unwrap_or_default()
}

/// Whether the file with this path is among the programs.
// In one place, not in four.
#[inline(never)]
fn is_among(programs: &Programs, path: &[u8]) -> bool {
    let name = path.rsplit(|&byte| byte == b'/').next();
    programs.contains(name.unwrap_or_default())
}

/// The strings of an array such as `environ`.
#[derive(Clone)]
struct Strings<'a> {
    next: *const *const c_char,
    strings: PhantomData<&'a [u8]>,
}

impl Strings<'_> {
    /// # Safety
    ///
    /// * `array` is null, or an array of C strings that ends with a null pointer.
    /// * Array and strings stay as they are as long as the lifetime says.
    unsafe fn borrow(array: *const *const c_char) -> Self {
        Self {
            next: array,
            strings: PhantomData,
        }
    }
}

impl<'a> Iterator for Strings<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        if self.next.is_null() {
            return None;
        }
        // SAFETY: the array has not ended yet (see `borrow`).
        let string = unsafe { self.next.read() };
        if string.is_null() {
            return None;
        }
        // SAFETY: an entry was there, so there is another one or the end.
        self.next = unsafe { self.next.add(1) };
        Some(Entry {
            string,
            strings: PhantomData,
        })
    }
}

/// A C string of such an array, whose length is not known yet: most are of no concern to us.
struct Entry<'a> {
    string: *const c_char,
    strings: PhantomData<&'a [u8]>,
}

impl<'a> Entry<'a> {
    /// Whether it begins with these bytes, of which none is null.
    fn begins(&self, with: &[u8]) -> bool {
        let mut next = self.string.cast::<u8>();
        with.iter().all(|&byte| {
            // SAFETY: the string has not ended yet: what has been read was not its null byte.
            let is_so = unsafe { next.read() } == byte;
            if is_so {
                // SAFETY: it was no null byte, so another one follows.
                next = unsafe { next.add(1) };
            }
            is_so
        })
    }

    fn bytes(&self) -> &'a [u8] {
        // SAFETY: an entry that is not null is a C string (see `borrow`).
        unsafe { CStr::from_ptr(self.string) }.to_bytes()
    }
}
