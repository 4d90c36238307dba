use super::*;
use std::{fs, time::Duration};

/// A layer in directories that nothing is mounted of.
struct Layers {
    at: tempfile::TempDir,
}

impl Layers {
    fn new() -> Self {
        let at = tempfile::tempdir().unwrap();
        fs::create_dir(at.path().join("upper")).unwrap();
        fs::create_dir(at.path().join("lower")).unwrap();
        Self { at }
    }

    fn tell(&self, after: &[u8], time: Instant, each: &mut dyn FnMut(&[u8], ChangeKind) -> bool) -> Option<Vec<u8>> {
        let (upper, lower) = (self.at.path().join("upper"), self.at.path().join("lower"));
        let layer = Layer { upper: &upper, lower: &lower, notes: Notes { slot: None, frozen: None }, frozen: None };
        tell(&layer, after, Until { stop: &AtomicBool::new(false), time }, each).unwrap()
    }
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

#[test]
fn a_directory_of_any_size_is_told_in_order_and_in_any_parts() {
    let layers = Layers::new();
    let many = layers.at.path().join("upper/many");
    fs::create_dir(&many).unwrap();
    for number in 0..5000 {
        fs::write(many.join(number.to_string()), "").unwrap();
    }
    let mut all = Vec::new();
    let rest = layers.tell(b"", later(), &mut |path, kind| {
        assert_eq!(kind, ChangeKind::Added);
        all.push(path.to_owned());
        true
    });
    assert_eq!((rest, all.len()), (None, 5001));
    assert!(all.is_sorted());
    // Whoever has no time gets one at least, and comes to the end.
    let (mut after, mut parts) = (Vec::new(), Vec::new());
    while parts.len() < 20 {
        after = layers
            .tell(&after, Instant::now(), &mut |path, _| {
                parts.push(path.to_owned());
                true
            })
            .unwrap();
    }
    assert_eq!(parts, all[..parts.len()]);
    let last = all.last().unwrap();
    assert_eq!(layers.tell(last, Instant::now(), &mut |path, _| panic!("{path:?} came twice")), None);
}

#[test]
fn a_tree_that_is_moved_about_leads_nowhere_else() {
    let layers = Layers::new();
    let (upper, outside) = (layers.at.path().join("upper"), layers.at.path().join("outside"));
    fs::create_dir_all(outside.join("b")).unwrap();
    fs::write(outside.join("b/secret"), "").unwrap();
    let names: Vec<_> = (0..20).map(|number| upper.join(number.to_string())).collect();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for name in &names {
                    let _ = fs::create_dir_all(name.join("a/b/c"));
                    let _ = fs::rename(name.join("a/b"), upper.join("b"));
                    let _ = fs::rename(upper.join("b"), name.join("b"));
                    let _ = fs::remove_dir_all(name);
                    let _ = std::os::unix::fs::symlink(&outside, name);
                    let _ = fs::remove_file(name);
                }
            }
        });
        for _ in 0..1000 {
            layers.tell(b"", later(), &mut |path, _| {
                assert!(!path.ends_with(b"secret"), "{}", path.escape_ascii());
                true
            });
        }
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn whoever_gives_up_ends_it() {
    let layers = Layers::new();
    fs::write(layers.at.path().join("upper/f"), "").unwrap();
    let (upper, lower) = (layers.at.path().join("upper"), layers.at.path().join("lower"));
    let layer = Layer { upper: &upper, lower: &lower, notes: Notes { slot: None, frozen: None }, frozen: None };
    let until = Until { stop: &AtomicBool::new(true), time: later() };
    assert_eq!(tell(&layer, b"", until, &mut |_, _| true).unwrap_err().kind(), io::ErrorKind::Interrupted);
}
