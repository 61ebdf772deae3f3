//! Names as error messages repeat them: a request may hold longer ones than fit into an answer.

/// Bytes of a name that a message shows.
const SHOWN_BYTES_MAX: usize = 200;

/// The beginning of a name.
pub fn excerpt(name: &str) -> &str {
    &name[..name.floor_char_boundary(SHOWN_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(excerpt("short"), "short");
        let long = "é".repeat(SHOWN_BYTES_MAX);
        assert_eq!(excerpt(&long).len(), SHOWN_BYTES_MAX);
        assert_eq!(excerpt(&format!("x{long}")).len(), SHOWN_BYTES_MAX - 1);
    }
}
