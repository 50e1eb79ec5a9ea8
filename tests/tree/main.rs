//! What holds of the sources themselves: imports go one way, documents name what is there, and no
//! line is too wide.

mod documents;
mod heads;
mod imports;
mod width;
