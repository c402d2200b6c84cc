//! Pickles by their bytes: what is read, and that no depth, repetition or stated length breaks the reader.

use super::*;

fn message(pickle: &[u8]) -> String {
    format!("{:#}", dicts(pickle).unwrap_err())
}

#[test]
fn pickles_that_would_break_the_reader_are_refused() {
    for (pickle, part) in [
        (&b"\x80\x02"[..], "truncated at byte 2"),
        (b"", "truncated at byte 0"),
        (
            b"\x80\x02\x8a\xff1234",
            "damaged at byte 2: a length exceeds",
        ),
        (b"\x80\x02\x8b\xff\xff\xff\xff", "damaged at byte 2"),
        (b"\x80\x02X\xff\xff\xff\xff", "damaged at byte 2"),
        (
            b"\x80\x05\x8d\xff\xff\xff\xff\xff\xff\xff\xff",
            "damaged at byte 2",
        ),
        (
            b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x7f",
            "damaged at byte 2",
        ),
        (b"\x80\x02R.", "cannot be read at byte 2"),
        (b"\x80\x02(.", "cannot be read at byte 3"),
        (b"\x80\x02t.", "damaged at byte 2: a mark is missing"),
        (
            b"\x80\x02h\x07.",
            "damaged at byte 2: the memo has nothing at 7",
        ),
        (
            b"\x80\x02Nr\xff\xff\xff\xff.",
            "damaged at byte 3: place 4294967295",
        ),
        (b"\x80\x02}.", "no tensors: its dictionary has no names"),
        (
            b"\x80\x02}X\x05\0\0\0epochK\x01s.",
            "no tensors under its keys \"epoch\"",
        ),
        (b"\x80\x02K\x01.", "not a dictionary"),
        (b"\x80\x02\xfa", "cannot be read at byte 2"),
        (b"\x80\x06}.", "pickle protocol 6, expected at most 5"),
        (b"\x80\x02ctorch.nn\nLinear\n)\x81.", "torch.nn.Linear"),
        (
            b"\x80\x02}X\x05\0\0\0modelctorch.nn\nLinear\n)\x81}bs.",
            "under \"model\", an object of the class torch.nn.Linear",
        ),
    ] {
        let error = message(pickle);
        assert!(error.contains(part), "{}: {error}", pickle.escape_ascii());
    }
}

#[test]
fn a_tensor_that_is_not_read_says_why_and_hides_no_other() {
    let good = &b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n\
        X\x01\0\0\x000X\x03\0\0\0cpuK\x02tQK\0K\x02\x85K\x01\x85\x89NtR"[..];
    for (made, why) in [
        (
            &b"ctorch._utils\n_rebuild_tensor_v2\n)R"[..],
            "of kind _rebuild_tensor_v2",
        ),
        (
            b"ctorch._utils\n_rebuild_tensor_v2\n(NQNNNtR",
            "damaged: invalid storage",
        ),
        (
            b"ctorch._utils\n_rebuild_qtensor\n)R",
            "of kind _rebuild_qtensor",
        ),
    ] {
        let (begin, between) = (&b"}(X\x01\0\0\0a"[..], &b"X\x01\0\0\0b"[..]);
        let pickle = [begin, made, between, good, b"u."].concat();
        let found = dicts(&pickle).unwrap();
        assert_eq!(found.len(), 1);
        assert!(found[0].unreadable["a"].contains(why), "{:?}", found[0]);
        assert_eq!(found[0].tensors["b"].shape, [2]);
        assert_eq!(found[0].tensors["b"].dtype, DType::F32);
    }
}

#[test]
fn a_hundred_thousand_tuples_within_each_other_are_no_stack_overflow() {
    for (begin, end) in [(&b""[..], &b"\x85"[..]), (b"(", b"t"), (b"]", b"a")] {
        let mut pickle = b"\x80\x02}X\x01\0\0\0a".to_vec();
        pickle.extend(begin.repeat(100_000));
        pickle.push(b'N');
        pickle.extend(end.repeat(100_000));
        pickle.extend(b"s.");
        assert_eq!(message(&pickle), "no tensors under its keys \"a\"");
    }
    let deep = [&b"\x80\x02"[..], &b"(".repeat(1 << 21)].concat();
    assert!(message(&deep).contains("more than 1048576 levels deep"));
    let dicts_within = [
        &b"\x80\x02"[..],
        &b"}K\x00".repeat(100_000),
        b"N",
        &b"s".repeat(100_000),
        b".",
    ];
    assert!(message(&dicts_within.concat()).contains("no tensors"));
}

#[test]
fn a_pickle_that_doubles_through_its_memo_takes_no_more_than_its_bytes() {
    // A tuple of the one before, twice: 2^64 of the innermost.
    let mut pickle = b"\x80\x02}X\x01\0\0\0a)q\0".to_vec();
    for _ in 0..64 {
        pickle.extend(b"0h\0h\0\x86q\0");
    }
    pickle.extend(b"s.");
    assert_eq!(message(&pickle), "no tensors under its keys \"a\"");
    // The same of dictionaries, whose ways are counted.
    let mut pickle = b"\x80\x02}q\0".to_vec();
    for _ in 0..64 {
        pickle.extend(b"}(");
        for key in 0..100 {
            pickle.extend([b'K', key, b'h', 0]);
        }
        pickle.extend(b"uq\0");
    }
    pickle.push(b'.');
    assert!(message(&pickle).contains("more than 1048576 entries of dictionaries"));
    // One that holds itself.
    assert!(message(b"\x80\x02}q\0K\x01h\0s.").contains("no tensors"));
}

#[test]
fn more_objects_than_any_network_has_are_refused() {
    let many = [&b"\x80\x02"[..], &b")".repeat(5 << 20), b"."].concat();
    assert!(message(&many).contains("more than 4194304 objects"));
    let long = vec![b'N'; (64 << 20) + 1];
    assert!(message(&long).contains("67108865 bytes long, expected at most 67108864"));
}

#[test]
fn whole_numbers_have_the_value_that_python_gave_them() {
    for (bytes, expected) in [
        (&b"K\xff"[..], Some(255)),
        (b"M\x01\x02", Some(513)),
        (b"J\xff\xff\xff\xff", Some(-1)),
        (b"\x8a\0", Some(0)),
        (b"\x8a\x01\xff", Some(-1)),
        (b"\x8a\x02\0\x80", Some(-32768)),
        (b"\x8a\x05\0\0\0\0\x01", Some(1 << 32)),
        (b"\x8b\x03\0\0\0\0\0\x01", Some(65536)),
        (b"\x8a\x09\0\0\0\0\0\0\0\0\x01", None),
        (b"I42\n", Some(42)),
        (b"L-7L\n", Some(-7)),
    ] {
        let pickle = [bytes, b"."].concat();
        let objects = pickle::read(&pickle).unwrap();
        let expected = expected.map_or(Object::Other, Object::Int);
        assert_eq!(
            *objects.at(objects.root()),
            expected,
            "{}",
            bytes.escape_ascii()
        );
    }
}
