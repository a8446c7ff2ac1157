//! Ctrl-C: the first asks for a tidy stop, the second stops at once.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::CannotBeDone;

static ASKED: AtomicBool = AtomicBool::new(false);

/// Listens for Ctrl-C and termination from now on.
pub(crate) fn install() {
    // Without a handler the program simply ends at Ctrl-C, which loses no file either.
    let _ = ctrlc::set_handler(|| {
        if ASKED.swap(true, Ordering::SeqCst) {
            #[allow(clippy::exit, reason = "the user asked twice")]
            std::process::exit(130);
        }
    });
}

/// Whether to go on.
pub(crate) fn check() -> ControlFlow<()> {
    if ASKED.load(Ordering::SeqCst) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// What a command that writes only at its end says when it was interrupted.
pub(crate) fn ended() -> anyhow::Error {
    CannotBeDone("interrupted; nothing was written".to_owned()).into()
}

/// Whether Ctrl-C was pressed.
pub(crate) fn asked() -> bool {
    check().is_break()
}
