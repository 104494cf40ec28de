//! Fitting text into a limit that counts bytes after JSON escaping.

/// A number of bytes of JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteBudget(pub usize);

/// The longest output that Step Functions takes (`SendTaskSuccess`, `output`): 262,144 bytes of UTF-8.
pub const OUTPUT_LIMIT: ByteBudget = ByteBudget(262_144);

/// What a result may take by default: 240 KiB. The rest is for the input that a `ResultPath` merges it into.
pub const OUTPUT_BUDGET: ByteBudget = ByteBudget(240 * 1024);

/// The longest cause that Step Functions takes (`SendTaskFailure`, `cause`): 32,768 characters. Counted in bytes here, which
/// are at least as many.
pub const CAUSE_BUDGET: ByteBudget = ByteBudget(32_768);

/// The bytes that `text` takes inside a JSON string, quotes not counted.
pub fn escaped_len(text: &str) -> usize {
    text.chars().map(escaped_char_len).sum()
}

fn escaped_char_len(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        c => c.len_utf8(),
    }
}

/// The longest beginning of `text` that takes at most `room` bytes after escaping.
pub fn head_within(text: &str, room: usize) -> &str {
    let mut used = 0;
    let end = text.char_indices().find_map(|(at, c)| {
        used += escaped_char_len(c);
        (used > room).then_some(at)
    });
    end.and_then(|end| text.get(..end)).unwrap_or(text)
}

/// The longest end of `text` that takes at most `room` bytes after escaping.
pub fn tail_within(text: &str, room: usize) -> &str {
    let mut used = 0;
    let start = text.char_indices().rev().find_map(|(at, c)| {
        used += escaped_char_len(c);
        (used > room).then_some(at + c.len_utf8())
    });
    start.and_then(|start| text.get(start..)).unwrap_or(text)
}

/// Divides `room` among things of these sizes: whoever needs less than an equal share gets what it needs, and the others
/// share what that leaves.
pub fn fair_shares(sizes: &[usize], room: usize) -> Vec<usize> {
    let mut by_size: Vec<usize> = (0..sizes.len()).collect();
    by_size.sort_by_key(|index| sizes.get(*index));
    let mut shares = vec![0; sizes.len()];
    let mut left = room;
    for (done, index) in by_size.iter().enumerate() {
        let equal = left / (sizes.len() - done);
        if let (Some(size), Some(share)) = (sizes.get(*index), shares.get_mut(*index)) {
            *share = equal.min(*size);
            left -= *share;
        }
    }
    shares
}

/// Cuts `text` to `characters`, with a mark where it was cut.
pub fn shortened(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_small_thing_leaves_its_share_to_the_others() {
        assert_eq!(fair_shares(&[10, 1000, 1000], 610), [10, 300, 300]);
        assert_eq!(fair_shares(&[1, 2, 3], 100), [1, 2, 3]);
        assert_eq!(fair_shares(&[], 100), [0; 0]);
    }

    proptest! {
        #[test]
        fn escaping_is_counted_as_serde_json_does_it(text in any::<String>()) {
            prop_assert_eq!(escaped_len(&text) + 2, Value::from(text).to_string().len());
        }

        #[test]
        fn head_and_tail_stay_within_their_room(text in any::<String>(), room in 0_usize..200) {
            prop_assert!(escaped_len(head_within(&text, room)) <= room);
            prop_assert!(escaped_len(tail_within(&text, room)) <= room);
            prop_assert!(text.starts_with(head_within(&text, room)));
            prop_assert!(text.ends_with(tail_within(&text, room)));
        }

        #[test]
        fn shares_never_add_up_to_more_than_there_is(sizes in prop::collection::vec(0_usize..500, 0..20), room in 0_usize..3000) {
            let shares = fair_shares(&sizes, room);
            prop_assert!(shares.iter().sum::<usize>() <= room);
            prop_assert!(shares.iter().zip(&sizes).all(|(share, size)| share <= size));
            if sizes.iter().sum::<usize>() <= room {
                prop_assert_eq!(shares, sizes);
            }
        }
    }
}
