//! The stories that are played with every mishap at every request.

mod calls;
mod endings;
mod functions;
mod gone;
mod keys;
mod names;
mod sweeps;

use super::story::Story;

/// All of them.
pub fn all() -> Vec<Story> {
    [
        endings::stories(),
        gone::stories(),
        keys::stories(),
        names::stories(),
        calls::stories(),
        functions::stories(),
        sweeps::stories(),
    ]
    .concat()
}
