//! File names that came from a server: shown and used as a last part, never as a path.

use artstore_api::FileId;
use artstore_api::file::MAX_FILENAME_BYTES;

/// The server's name for a file if it is harmless as the last part of a path, else the file's identifier.
///
/// Harmless is a name that is not empty, not too long, is neither `.` nor `..`, holds no separator of any system, no colon and no
/// control or direction-changing character, and does not begin with a minus (an option to other commands).
#[must_use]
pub fn safe_file_name(offered: &str, id: FileId) -> String {
    let harmless = !offered.is_empty()
        && offered.len() <= MAX_FILENAME_BYTES
        && !matches!(offered, "." | "..")
        && !offered.starts_with('-')
        && !offered.chars().any(is_harmful);
    if harmless { offered.to_owned() } else { id.to_string() }
}

fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character, '/' | '\\' | ':')
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_harmless_name_is_kept() {
        let id = FileId::generate();
        for name in ["a.txt", "Wörter und Bilder (2).png", ".hidden", "..a", "a..", &"x".repeat(255)] {
            assert_eq!(safe_file_name(name, id), name);
        }
    }

    #[test]
    fn a_path_or_a_trick_becomes_the_identifier() {
        let id = FileId::generate();
        for name in [
            "",
            ".",
            "..",
            "../../etc/passwd",
            "/etc/passwd",
            "a/b",
            "..\\evil.exe",
            "C:evil",
            "a\0b",
            "a\nb",
            "a\u{1b}[31m",
            "gpj\u{202e}exe.a",
            "-rf",
            &"x".repeat(256),
        ] {
            assert_eq!(safe_file_name(name, id), id.to_string(), "{name:?}");
        }
    }
}
