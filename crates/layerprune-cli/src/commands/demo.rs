use anyhow::Result;

use crate::args::{DemoArgs, Global};
use crate::{demo, job, output, progress};

/// Does the whole job on the embedded model and images.
pub(crate) fn run(args: &DemoArgs, global: &Global) -> Result<()> {
    let recipe = demo::recipe(&args.output, global.seed())?;
    progress::note(
        global,
        "The demo prunes a residual CNN of 12 blocks on a part of Fashion-MNIST, both embedded: it scores all blocks,\n\
         removes the least important until the latency is 40 % lower, recalibrates, fine-tunes and measures.",
    );
    let finished = job::run(&recipe, &demo::model()?, "the embedded model", global)?;
    output::print_record(global, &finished.record, &job::text(&finished))
}
