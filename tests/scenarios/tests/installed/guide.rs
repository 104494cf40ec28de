//! A document for whoever installs the worker: its commands, which are run as they stand there.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use crate::bed::{Bed, ROOT, shell};

/// What stands above a block that is not run here, and why it is not.
const ELSEWHERE: [&str; 2] = ["aws", "engine"];

pub(crate) struct Guide<'b> {
    bed: &'b Bed,
    path: &'static str,
    blocks: BTreeMap<String, String>,
    followed: RefCell<BTreeSet<String>>,
}

impl<'b> Guide<'b> {
    /// Reads the document, and writes the file that it asks for, if it does, with what leads to this test's Step Functions added.
    pub(crate) fn new(bed: &'b Bed, path: &'static str) -> Self {
        let document = std::fs::read_to_string(format!("{ROOT}/{path}")).unwrap();
        let mut blocks = BTreeMap::new();
        let mut mark = "";
        let mut lines = document.lines();
        while let Some(line) = lines.next() {
            let is_command = mark.starts_with("file: ") || line == "```sh";
            if line.starts_with("```") {
                let block: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
                let block = block.join("\n");
                match mark.split_once(": ") {
                    Some(("run", name)) => blocks.insert(name.to_owned(), block),
                    Some(("file", name)) => {
                        bed.write_values(name, &block);
                        None
                    }
                    _ if ELSEWHERE.contains(&mark) || !is_command => None,
                    _ => panic!("nothing says what becomes of this block: {block}"),
                };
            }
            mark = line.strip_prefix("<!-- ").and_then(|mark| mark.strip_suffix(" -->")).unwrap_or_default();
        }
        Self { bed, path, blocks, followed: RefCell::default() }
    }

    /// Runs the block of that name. Gives what it has printed.
    pub(crate) fn follow(&self, name: &str) -> String {
        shown(&self.block(name), &self.bed.path())
    }

    /// The same, while other things go on here.
    pub(crate) async fn follow_meanwhile(&self, name: &str) {
        let (block, path) = (self.block(name), self.bed.path());
        tokio::task::spawn_blocking(move || shown(&block, &path)).await.unwrap();
    }

    fn block(&self, name: &str) -> String {
        self.followed.borrow_mut().insert(name.to_owned());
        self.blocks.get(name).unwrap_or_else(|| panic!("{} has no block {name}", self.path)).clone()
    }

    /// No command of the document was left out.
    pub(crate) fn assert_followed(&self) {
        let all: BTreeSet<_> = self.blocks.keys().cloned().collect();
        assert_eq!(*self.followed.borrow(), all, "{}", self.path);
    }
}

/// Runs a script, and shows what its reader would see.
fn shown(script: &str, path: &str) -> String {
    println!("$ {script}");
    let begun = Instant::now();
    let printed = shell(script, path);
    println!("{printed}({:.1} s)", begun.elapsed().as_secs_f64());
    printed
}
