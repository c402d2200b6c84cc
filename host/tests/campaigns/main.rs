//! Campaigns of damage and kills on real runs. By default a part of each, so that every file and every stage has its turn;
//! `ALAMBIC_CAMPAIGNS=whole` carries out all of them:
//!
//! ```text
//! ALAMBIC_CAMPAIGNS=whole cargo test --test campaigns -- --nocapture
//! ```

#[path = "../common/mod.rs"]
mod common;
#[path = "../support/mod.rs"]
mod support;

mod checkpoints;
mod files;
mod harm;
mod kills;

/// Whether all is asked for.
fn is_whole() -> bool {
    match std::env::var("ALAMBIC_CAMPAIGNS").as_deref() {
        Ok("whole") => true,
        Ok(other) => panic!("ALAMBIC_CAMPAIGNS={other}, expected \"whole\" or nothing"),
        Err(_) => false,
    }
}
