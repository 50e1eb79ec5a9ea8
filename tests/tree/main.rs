//! What holds of the sources themselves: imports go one way, and documents name what is there.

mod documents;
mod heads;
mod imports;
