//! The hostile-host suite: programs that do what makes a preloaded library misbehave. Each runs
//! under every setting in the matrix and without the shim, and must give the same output and end in
//! the same way.

mod calls;
mod differential;
mod faults;
mod handed;
mod host;
mod interrupted;
mod loading;
mod mutants;
mod output;
mod promises;
mod purity;
mod rights;
mod waiting;
