//! Which local program stands for an image.

use std::path::Path;

/// A program that an image needs, and what it runs when the manifest names no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Image {
    name: &'static str,
    pub(crate) program: &'static str,
    pub(crate) default: &'static [&'static str],
}

const IMAGES: [Image; 9] = [
    Image { name: "busybox", program: "sh", default: &["sh"] },
    Image { name: "alpine", program: "sh", default: &["sh"] },
    Image { name: "debian", program: "sh", default: &["sh"] },
    Image { name: "ubuntu", program: "sh", default: &["sh"] },
    Image { name: "bash", program: "sh", default: &["sh"] },
    Image { name: "perl", program: "perl", default: &["perl", "-de0"] },
    Image { name: "python", program: "python3", default: &["python3"] },
    Image { name: "node", program: "node", default: &["node"] },
    Image { name: "ruby", program: "ruby", default: &["ruby"] },
];

/// The images that a local program can stand for.
pub fn known_images() -> Vec<&'static str> {
    IMAGES.iter().map(|image| image.name).collect()
}

/// The image, if it is known and its program is on this machine's `PATH`.
pub(crate) fn find(reference: &str) -> Option<Image> {
    IMAGES.into_iter().find(|image| image.name == repository(reference)).filter(|image| on_path(image.program))
}

/// The last component of an image's repository: `perl` of `registry.example:5000/library/perl:5.34@sha256:…`.
fn repository(reference: &str) -> &str {
    let last = reference.rsplit('/').next().unwrap_or(reference);
    last.split(['@', ':']).next().unwrap_or(last)
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| Path::new(&directory).join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_what_is_left_without_registry_tag_and_digest() {
        for reference in ["perl", "perl:5.34", "library/perl", "localhost:5000/perl@sha256:0", "a.b/c/perl:x@sha256:0"]
        {
            assert_eq!(repository(reference), "perl", "{reference}");
        }
    }

    #[test]
    fn an_unknown_image_is_not_found() {
        assert_eq!(find("nosuch.invalid/x:v1"), None);
        assert_eq!(find("busybox:1.36").map(|image| image.program), Some("sh"));
    }
}
