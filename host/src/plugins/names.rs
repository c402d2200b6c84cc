//! The hint for an unknown name: the known names, and the nearest one.

use crate::say::visible;

/// The one of `have` that `name` was probably meant to be.
pub fn nearest<'a>(name: &str, have: &[&'a str]) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let distance = |other: &str| strsim::damerau_levenshtein(&lower, &other.to_lowercase());
    // A name that starts like another one is taken for a shortened form.
    let shortened = have
        .iter()
        .find(|other| lower.len() >= 3 && other.to_lowercase().starts_with(&lower));
    if let Some(&whole) = shortened {
        return Some(whole);
    }
    // Else a third of the letters may be wrong.
    let (wrong, best) = have.iter().map(|&other| (distance(other), other)).min()?;
    (wrong <= lower.chars().count().max(3) / 3).then_some(best)
}

/// `(have: a, b; did you mean "a"?)`, for the end of a message on an unknown `name`.
pub fn hint(name: &str, have: &[&str]) -> String {
    if have.is_empty() {
        return "(there are none)".to_owned();
    }
    let list = visible(&have.join(", ")).into_owned();
    match nearest(name, have) {
        Some(near) if have.len() > 1 => {
            format!("(have: {list}; did you mean \"{}\"?)", visible(near))
        }
        _ => format!("(have: {list})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_keyboard_find_their_name() {
        let have = ["cross-entropy", "kl", "mse-gt"];
        assert_eq!(nearest("kll", &have), Some("kl"));
        assert_eq!(nearest("Cross-Entropie", &have), Some("cross-entropy"));
        assert_eq!(nearest("cross", &have), Some("cross-entropy"));
        assert_eq!(nearest("focal", &have), None);
    }

    #[test]
    fn a_hint_lists_and_guesses() {
        let hinted = hint("kll", &["cross-entropy", "kl"]);
        assert_eq!(hinted, "(have: cross-entropy, kl; did you mean \"kl\"?)");
        assert_eq!(hint("gama", &["gamma"]), "(have: gamma)");
        assert_eq!(hint("gama", &[]), "(there are none)");
    }
}
