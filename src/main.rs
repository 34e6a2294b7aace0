//! The `sheetanchor` binary.
fn main() {}
