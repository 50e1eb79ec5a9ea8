//! The engine `wait`, for what no other one serves: clears what it may of what earlier runs left
//! behind, and waits until the program's ports can be bound.

use crate::output;
use crate::port::bindable::Bind;
use crate::port::evict::{self, Filter};
use crate::port::port_list::spelled;
use crate::port::wait::{Denied, End, Meanwhile, Wish, wait};
use std::time::{Duration, Instant};

/// How long it waits by default: the kernel's `TIME_WAIT` is 60 s long, and an orphan in
/// `FIN_WAIT2` becomes that or is gone within another 60 s (`tcp_fin_timeout`).
pub(crate) const LONGEST: Duration = Duration::from_secs(125);

/// How often it tries to clear what there is: more may have come.
const AGAIN: Duration = Duration::from_secs(1);

/// Waits until these ports can be bound by a program that sets no option, or the time is up, and
/// reports on stderr what it waits for.
pub(crate) fn until_free(ports: &[u16], longest: Duration) {
    let begin = Instant::now();
    let mut evicted = None::<Instant>;
    let mut is_reported = false;
    let wish = Wish {
        ports,
        bind: Bind::default(),
        // The program may have a capability that its starter lacks.
        denied: Denied::ReadsTable,
    };
    let end = wait(wish, begin.checked_add(longest), |in_the_way| {
        if evicted.is_none_or(|then| then.elapsed() > AGAIN) {
            let is_first = evicted.replace(Instant::now()).is_none();
            // What it may not clear it has to wait for.
            let eviction = evict::evict(ports, Filter::default(), false);
            if is_first || eviction.is_ok_and(|it| it.left.len() < it.found.len()) {
                return Meanwhile::Acted;
            }
        }
        if !is_reported {
            output::info(&format!(
                "reuseaddr: waiting for {in_the_way}, for {} at the most",
                output::seconds(longest)
            ));
            is_reported = true;
        }
        Meanwhile::Nothing
    });
    let waited = output::seconds(begin.elapsed());
    match end {
        Ok(End::Free) if is_reported => output::info(&format!(
            "reuseaddr: port {} is free after {waited}",
            spelled(ports)
        )),
        // A port that may not be bound is looked up, as `wish` has it.
        Ok(End::Free | End::Denied(_)) => {}
        Ok(End::TimeIsUp(in_the_way)) => output::warn(&format!(
            "still in use after {waited}: {in_the_way}; the program is started anyway"
        )),
        Err(error) => output::warn(&format!(
            "can't wait for port {}: {error:#}; the program is started anyway",
            spelled(ports)
        )),
    }
}
