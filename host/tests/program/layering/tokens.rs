//! A Rust text as names and signs, and the part of it that is not tests.

/// Where the bracket closes that opens at `open`.
pub fn closing(tokens: &[String], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    panic!(
        "a bracket that never closes: {:?}",
        &tokens[open..(open + 9).min(tokens.len())]
    )
}

/// All but the items of tests, and their attributes.
pub fn without_tests(tokens: Vec<String>) -> Vec<String> {
    const TESTS: [&[&str]; 3] = [
        &["cfg", "(", "test", ")"],
        &["cfg", "(", "all", "(", "test", ","],
        &["test", "]"],
    ];
    let (mut kept, mut at) = (Vec::new(), 0);
    let opens = |at: usize| tokens[at] == "#" && tokens.get(at + 1).is_some_and(|t| t == "[");
    while at < tokens.len() {
        let is_test = opens(at)
            && TESTS.iter().any(|test| {
                tokens[at + 2..]
                    .iter()
                    .zip(*test)
                    .filter(|(a, b)| a == b)
                    .count()
                    == test.len()
            });
        if !is_test {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        while opens(at) {
            at = closing(&tokens, at + 1) + 1;
        }
        // An item ends with a semicolon or with its block.
        while tokens[at] != ";" {
            let opened = ["(", "[", "{"].contains(&tokens[at].as_str()).then_some(at);
            at = opened.map_or(at, |at| closing(&tokens, at));
            if tokens[at] == "}" {
                break;
            }
            at += 1;
        }
        at += 1;
    }
    kept
}

/// The names, literals and signs of a text, `::` as one; no comments, lifetimes or characters.
pub fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let at_is = |at: usize, c: char| chars.get(at) == Some(&c);
    let is_word = |c: &char| c.is_alphanumeric() || *c == '_';
    let word_end = |at: usize| at + chars[at..].iter().take_while(|c| is_word(c)).count();
    let (mut found, mut at): (Vec<String>, usize) = (Vec::new(), 0);
    while at < chars.len() {
        let begin = at;
        match chars[at] {
            '/' if at_is(at + 1, '/') => {
                at += chars[at..].iter().take_while(|c| **c != '\n').count();
                continue;
            }
            '/' if at_is(at + 1, '*') => {
                let mut depth = 0;
                while at < chars.len() {
                    let step = match (chars[at], chars.get(at + 1)) {
                        ('/', Some('*')) => 1,
                        ('*', Some('/')) => -1,
                        _ => 0,
                    };
                    depth += step;
                    at += if step == 0 { 1 } else { 2 };
                    if depth == 0 {
                        break;
                    }
                }
                continue;
            }
            '\'' if at_is(at + 1, '\\') => {
                at += 3;
                at += chars[at..].iter().take_while(|c| **c != '\'').count() + 1;
                continue;
            }
            '\'' if at_is(at + 2, '\'') => {
                at += 3;
                continue;
            }
            '\'' => {
                at = word_end(at + 1);
                continue;
            }
            '"' => {
                at += 1;
                while !at_is(at, '"') {
                    at += if at_is(at, '\\') { 2 } else { 1 };
                }
                at += 1;
            }
            c if is_word(&c) => {
                at = word_end(at);
                let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
                let is_raw =
                    chars[begin..at].iter().all(|c| "brc".contains(*c)) && chars[at - 1] == 'r';
                if is_raw && at_is(at + hashes, '"') {
                    at += hashes + 1;
                    let ends =
                        |at: usize| at_is(at, '"') && (1..=hashes).all(|i| at_is(at + i, '#'));
                    while !ends(at) {
                        at += 1;
                    }
                    at += hashes + 1;
                    continue;
                }
            }
            ':' if at_is(at + 1, ':') => at += 2,
            c => {
                at += 1;
                if c.is_whitespace() {
                    continue;
                }
            }
        }
        found.push(chars[begin..at].iter().collect());
    }
    found
}
