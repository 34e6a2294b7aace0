//! What sheetanchor does to the hub: one owner per effect.

pub mod leader;
