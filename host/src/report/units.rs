//! Sizes, times and counts in the units that people read.

/// A size in binary units, with three digits: `999 B`, `1.50 KiB`, `28.3 GiB`.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut size, mut unit) = (bytes as f64 / 1024., 0);
    // 1023.95 would be rounded to 1024 of a unit; it is 1.00 of the next.
    while size >= 1023.5 && unit + 1 < UNITS.len() {
        size /= 1024.;
        unit += 1;
    }
    let decimals = match size {
        size if size < 9.995 => 2,
        size if size < 99.95 => 1,
        _ => 0,
    };
    format!("{size:.decimals$} {}", UNITS[unit])
}

/// A time in its two largest units: `820 ms`, `9.8 s`, `3 min 08 s`, `2 h 05 min`, `1 d 03 h`; `-` for what is no time.
pub fn human_duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0. {
        return "-".into();
    }
    let (millis, whole) = ((seconds * 1e3).round() as u64, seconds.round() as u64);
    match whole {
        _ if millis < 1000 => format!("{millis} ms"),
        _ if seconds < 59.95 => format!("{seconds:.1} s"),
        0..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {:02} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

/// A count with its digits in groups of three: `1,281,167`.
pub fn human_count(count: u64) -> String {
    indicatif::HumanCount(count).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_three_digits() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.50 KiB"),
            (10 * 1024, "10.0 KiB"),
            (1024 * 1024 - 1, "1.00 MiB"),
            (30_376_000_000, "28.3 GiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(human_bytes(bytes), expected);
        }
    }

    #[test]
    fn durations_in_two_units() {
        let cases = [
            (0.82, "820 ms"),
            (0.9996, "1.0 s"),
            (9.81, "9.8 s"),
            (59.97, "1 min 00 s"),
            (187.5, "3 min 08 s"),
            (3599.7, "1 h 00 min"),
            (97_200., "1 d 03 h"),
            (f64::NAN, "-"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(human_duration(seconds), expected);
        }
    }

    #[test]
    fn counts_in_groups_of_three() {
        assert_eq!(
            [7, 1438, 1_281_167].map(human_count),
            ["7", "1,438", "1,281,167"]
        );
    }
}
