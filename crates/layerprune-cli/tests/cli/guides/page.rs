//! What of a page is a command, a file or output, and what the page lacks.

use std::fmt::Write;

/// A page of the guide.
pub(super) struct Page {
    /// Names in the sentence that begins a paragraph with "You have": what is there before the first block.
    pub(super) given: Vec<String>,
    pub(super) blocks: Vec<Block>,
    /// The page without its blocks, line by line with numbers.
    prose: Vec<(usize, String)>,
}

/// What stands between two fences.
pub(super) struct Block {
    /// Line of the opening fence, from 1.
    pub(super) line: usize,
    /// First word behind the fence: `sh` is run; `text` is what the `sh` block before it puts out.
    pub(super) language: String,
    /// Second word: the block is this file.
    pub(super) file: Option<String>,
    pub(super) needs: Need,
    pub(super) text: String,
    /// The paragraph before.
    introduction: String,
}

/// What the paragraph before a block says of where it runs.
pub(super) enum Need {
    Nothing,
    /// "Needs Python with `MODULE`, …"
    Python(Vec<String>),
    /// "Not run by the tests: REASON."
    Never(String),
}

/// Programs whose commands belong into blocks.
const PROGRAMS: [&str; 8] = ["layerprune", "cargo", "pip", "python", "ssh", "scp", "sh", "$"];

impl Page {
    pub(super) fn parse(name: &str, text: &str) -> Self {
        let (mut blocks, mut prose, mut open): (Vec<Block>, Vec<(usize, String)>, Option<Block>) = Default::default();
        for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line)) {
            match (line.strip_prefix("```"), &mut open) {
                (Some(""), block @ Some(_)) => blocks.extend(block.take()),
                (_, Some(block)) => writeln!(block.text, "{line}").unwrap(),
                (Some(info), None) => {
                    let (language, file) = info.split_once(' ').map_or((info, None), |(word, file)| (word, Some(file)));
                    let introduction = last_paragraph(&prose);
                    open = Some(Block {
                        line: number,
                        language: language.to_owned(),
                        file: file.map(str::to_owned),
                        needs: Need::of(&introduction),
                        text: String::new(),
                        introduction,
                    });
                }
                (None, None) => prose.push((number, line.to_owned())),
            }
        }
        assert!(open.is_none(), "{name}: a block is not closed");
        Self { given: given(&prose), blocks, prose }
    }

    /// A file that the page shows.
    pub(super) fn file(&self, name: &str) -> &str {
        &self.blocks.iter().find(|block| block.file.as_deref() == Some(name)).unwrap().text
    }

    /// What breaks the rules that let a test run the page.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let run: String = self.blocks.iter().filter(|block| block.is_run()).map(|block| &block.text[..]).collect();
        let mut commands = 0;
        for block in &self.blocks {
            let line = block.line;
            commands += usize::from(block.is_run());
            match (&block.language[..], &block.file) {
                ("sh" | "python" | "toml" | "json" | "text", Some(file)) => {
                    if !block.introduction.contains(&format!("`{file}`")) {
                        faults.push(format!("line {line}: the paragraph before does not name the file `{file}`"));
                    }
                }
                ("sh", None) => {}
                ("text", None) => {
                    if commands == 0 {
                        faults.push(format!("line {line}: output of no command"));
                    }
                    if let Some(command) = block.text.lines().find(|line| is_command(line)) {
                        faults.push(format!("line {line}: `{command}` stands in a block that is not run"));
                    }
                }
                (language, _) => {
                    faults.push(format!("line {line}: `{language}` is neither run, nor output, nor a file"))
                }
            }
        }
        for (number, line) in &self.prose {
            if line.trim_start().starts_with("```") || (line.starts_with("    ") && is_command(line.trim_start())) {
                faults.push(format!("line {number}: an indented block is not run"));
            }
            // Names of verbs and pages of help are no commands to try.
            for span in names(line).filter(|span| is_command(span) && !is_name(span) && !run.contains(span)) {
                faults.push(format!("line {number}: `{span}` stands in no block that is run"));
            }
        }
        faults
    }
}

impl Block {
    fn is_run(&self) -> bool {
        self.language == "sh" && self.file.is_none()
    }
}

impl Need {
    fn of(introduction: &str) -> Self {
        if let Some(reason) = introduction.strip_prefix("Not run by the tests: ") {
            Self::Never(reason.split(". ").next().unwrap().trim_end_matches(['.', ':']).to_owned())
        } else if introduction.starts_with("Needs Python with ") {
            let sentence = introduction.split(['.', ':']).next().unwrap();
            Self::Python(names(sentence).map(str::to_owned).collect())
        } else {
            Self::Nothing
        }
    }
}

/// A verb, or its page of help.
fn is_name(command: &str) -> bool {
    let words: Vec<_> = command.split(' ').collect();
    words[0] == "layerprune" && (words.len() == 2 || words[2..] == ["--help"])
}

fn is_command(line: &str) -> bool {
    let mut words = line.split(' ');
    let program = words.next().is_some_and(|word| PROGRAMS.contains(&word));
    // `layerprune 0.1.0` is none.
    program && words.next().is_some_and(|word| !word.starts_with(|c: char| c.is_ascii_digit()))
}

/// What stands between backticks.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn given(prose: &[(usize, String)]) -> Vec<String> {
    let lines = prose.iter().map(|(_, line)| &line[..]).skip_while(|line| !line.starts_with("You have "));
    let paragraph: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    let paragraph = paragraph.join(" ");
    names(paragraph.split(". ").next().unwrap()).map(|name| name.trim_end_matches('/').to_owned()).collect()
}

/// The paragraph that ends the prose, its lines joined.
fn last_paragraph(prose: &[(usize, String)]) -> String {
    let lines = prose.iter().rev().map(|(_, line)| &line[..]).skip_while(|line| line.is_empty());
    let mut paragraph: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    paragraph.reverse();
    paragraph.join(" ")
}

#[test]
fn a_command_outside_of_a_block_that_is_run_is_a_fault() {
    let faults = |text: &str| Page::parse("page", text).faults().join("\n");
    assert_eq!(faults("```sh\nlayerprune inspect model.onnx\n```\nSee `layerprune prune --help`, `layerprune`.\n"), "");
    assert_eq!(faults("```sh\nlayerprune --help\n```\n```text\nUsage\n```\n"), "");
    assert_eq!(faults("`a.toml`:\n\n```toml a.toml\nx = 1\n```\n"), "");
    for (text, fault) in [
        ("```text\nlayerprune inspect model.onnx\n```\n", "stands in a block that is not run"),
        ("```text\nlayer  kind\n```\n", "output of no command"),
        ("```\nlayerprune inspect model.onnx\n```\n", "`` is neither run"),
        ("```bash\nlayerprune inspect model.onnx\n```\n", "`bash` is neither run"),
        ("Text.\n\n    layerprune inspect model.onnx\n", "an indented block is not run"),
        ("* one\n  ```sh\n", "an indented block is not run"),
        ("With `layerprune inspect model.onnx --tree`.\n", "stands in no block that is run"),
        ("Text.\n\n```toml a.toml\nx = 1\n```\n", "does not name the file `a.toml`"),
    ] {
        assert!(faults(text).contains(fault), "{text}{}", faults(text));
    }
}

#[test]
fn what_a_page_has_and_needs_is_read_from_its_words() {
    let page = Page::parse(
        "page",
        "You have `model.onnx` and\n`photos/`. Try `prune`.\n\nNeeds Python with `torch`, `onnx`. It writes `a.onnx`:\n\n```sh\na\n```\n\n\
         Not run by the tests: it takes long. So:\n```sh\nb\n```\n```sh\nc\n```\n",
    );
    assert_eq!(page.given, ["model.onnx", "photos"]);
    assert!(matches!(&page.blocks[0].needs, Need::Python(modules) if modules == &["torch", "onnx"]));
    assert!(matches!(&page.blocks[1].needs, Need::Never(reason) if reason == "it takes long"));
    assert_eq!(page.blocks.iter().map(|block| &block.text[..]).collect::<String>(), "a\nb\nc\n");
}
