//! Whether a command says what a page shows. Numbers differ from model to model and columns are as wide as their content: words,
//! their order and that there is a number have to be right. `…` stands for anything, alone on a line for any lines.

/// Finds all lines of `shown` in `said`, in order; the first that is not there is the error.
pub(super) fn find<'a>(shown: &'a str, said: &str) -> Result<(), &'a str> {
    let said: Vec<_> = said.lines().map(plain).collect();
    let mut rest = &said[..];
    for line in shown.lines().filter(|line| !line.trim().is_empty() && line.trim() != "…") {
        let wanted = plain(line);
        let at = rest.iter().position(|line| matches(&wanted, line)).ok_or(line)?;
        rest = &rest[at + 1..];
    }
    Ok(())
}

/// `line` with `#` for each number, its sign and the thousands, millions or bytes behind it, and single spaces.
fn plain(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        if c.is_ascii_digit() {
            let sign = ['+', '-', '−'].into_iter().find(|&sign| out.ends_with(sign) && starts_word(&out, sign));
            out.truncate(out.len() - sign.map_or(0, char::len_utf8));
            out.push('#');
            rest = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ',');
            rest = rest.strip_prefix('.').filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit())).unwrap_or(rest);
            rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            let unit = [" k", " M", " G", " B", " kB", " MB"].into_iter().rev();
            let ends = |rest: &str| !rest.starts_with(char::is_alphanumeric);
            rest = unit.filter_map(|unit| rest.strip_prefix(unit)).find(|rest| ends(rest)).unwrap_or(rest);
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether the sign that ends `text` has nothing before it that it could join.
fn starts_word(text: &str, sign: char) -> bool {
    !text.trim_end_matches(sign).ends_with(|c: char| c.is_alphanumeric() || c == '#')
}

fn matches(wanted: &str, line: &str) -> bool {
    let mut parts = wanted.split('…').map(str::trim);
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let parts: Vec<_> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[test]
fn words_have_to_be_right_and_numbers_to_be_there() {
    let said = "removed 3 layers:\n  layer1.2\n  layer3.1\nparameters: 28.3 k → 943 (-33.1 %)\nwritten: pruned.onnx\n";
    assert_eq!(find("removed 12 layers:\n  layer2.10\nparameters: 1.2 M → 1,000 k (+3 %)\n", said), Ok(()));
    assert_eq!(find("removed … layers:\n…\nwritten: …\n", said), Ok(()));
    assert_eq!(find("removed 3 filters:\n", said), Err("removed 3 filters:"));
    assert_eq!(find("removed 3\n", said), Err("removed 3"));
    assert_eq!(find("written: pruned.onnx\n  layer1.2\n", said), Err("  layer1.2"));
    assert_eq!(find("parameters: 28.3 k → none (-33.1 %)\n", said), Err("parameters: 28.3 k → none (-33.1 %)"));
    assert_eq!(plain("7.5 Mio, N×8 x-1 −2.5 to 3,000.25 MB."), "# Mio, N×# x-# # to #.");
}
