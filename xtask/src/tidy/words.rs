//! Words that do not belong in the product's text: where it was made, on which machine, from where
//! its packages came.
//!
//! The needles are written in halves, so that this file passes its own check.

use super::Text;

/// Pairs that make one needle when joined; looked for without regard to case.
const NEEDLES: &[(&str, &str)] = &[
    // Who or what wrote it, and under which order.
    ("this ", "session"),
    ("sub", "-agent"),
    ("sub", "agent"),
    ("assis", "tant"),
    ("language ", "model"),
    ("ai-", "generated"),
    ("as the issue", " says"),
    ("the issue", " asks"),
    ("the br", "ief says"),
    ("helper", " session"),
    // Folders of a machine of ours.
    ("/wo", "rk/"),
    ("/ro", "ot/."),
    ("/tmp/in", "terop"),
    // Hosts that serve packages: the clients know them, and mirrors differ.
    ("crates", ".io"),
    ("pypi", ".org"),
    ("python", "hosted.org"),
    ("npm", "js.org"),
    ("npm", "js.com"),
    ("repo.maven", ".apache"),
    ("repo1.", "maven"),
    ("proxy.", "golang.org"),
    ("sum.", "golang.org"),
    ("deb.", "debian.org"),
];

/// Lock files hold the addresses that their tools write.
const EXEMPT: [&str; 2] = ["Cargo.lock", "package-lock.json"];

pub fn check(texts: &[Text]) -> Vec<String> {
    let needles: Vec<String> = NEEDLES.iter().map(|(a, b)| format!("{a}{b}")).collect();
    let own = texts.iter().filter(|text| !EXEMPT.iter().any(|name| text.path.ends_with(name)));
    own.flat_map(|text| check_text(text, &needles)).collect()
}

fn check_text(text: &Text, needles: &[String]) -> Vec<String> {
    let mut complaints = vec![];
    for (index, line) in text.body.lines().enumerate() {
        let line = line.to_lowercase();
        for needle in needles.iter().filter(|needle| line.contains(needle.as_str())) {
            complaints.push(format!("{}:{}: says {needle:?}", text.path, index + 1));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(path: &str, body: &str) -> usize {
        check(&[Text { path: path.into(), body: body.into() }]).len()
    }

    #[test]
    fn machine_paths_and_hosts_are_found_where_they_stand() {
        let path = ["cd /wo", "rk/main\n"].concat();
        let host = ["ok\nget it from Crates", ".io\n"].concat();
        let cases = [
            ("path", "run", path.as_str(), 1),
            ("host in capitals", "README.md", host.as_str(), 1),
            ("lock file", "fuzz/Cargo.lock", host.as_str(), 0),
            ("word of the trade", "a.rs", "// the fetch session of a consumer\n", 0),
        ];
        for (name, path, body, expected) in cases {
            assert_eq!(complaints(path, body), expected, "{name}");
        }
    }
}
