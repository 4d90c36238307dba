//! How far a pull is, from what the daemon says of each layer.

use crate::runtime::Pull;
use bollard::models::CreateImageInfo;
use std::collections::HashMap;

/// The layers of an image that is being pulled.
#[derive(Debug, Default)]
pub(super) struct Layers(HashMap<String, Layer>);

#[derive(Debug, Default, Clone, Copy)]
struct Layer {
    stage: Stage,
    received: u64,
    total: u64,
    unpacked: u64,
}

/// How far a layer is; it never goes back.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    #[default]
    Known,
    Receiving,
    Received,
    Unpacking,
    Done,
}

impl Layers {
    /// Takes what the daemon says. Returns whether anything has come or was done since: that the daemon is about to try
    /// again, for example, is not.
    pub(super) fn take(&mut self, said: &CreateImageInfo) -> bool {
        let (Some(id), Some(stage)) = (&said.id, said.status.as_deref().and_then(stage)) else { return false };
        let is_new = !self.0.contains_key(id);
        let layer = self.0.entry(id.clone()).or_default();
        let before = *layer;
        let detail = said.progress_detail.as_ref();
        let bytes = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok()).unwrap_or(0);
        let (current, total) = detail.map_or((0, 0), |detail| (bytes(detail.current), bytes(detail.total)));
        layer.stage = layer.stage.max(stage);
        match stage {
            Stage::Receiving => {
                layer.total = layer.total.max(total);
                layer.received = layer.received.max(current);
            }
            Stage::Unpacking => layer.unpacked = layer.unpacked.max(current),
            Stage::Known | Stage::Received | Stage::Done => {}
        }
        if layer.stage >= Stage::Received {
            layer.received = layer.total;
        }
        is_new || layer.stage > before.stage || layer.received > before.received || layer.unpacked > before.unpacked
    }

    /// All of them together.
    pub(super) fn sum(&self) -> Pull {
        Pull {
            layers_done: self.0.values().filter(|layer| layer.stage == Stage::Done).count(),
            layers_total: self.0.len(),
            bytes_received: self.0.values().map(|layer| layer.received).sum(),
            bytes_total: self.0.values().map(|layer| layer.total).sum(),
        }
    }
}

/// What the daemon's words for a layer mean; nothing if they are not about one.
fn stage(status: &str) -> Option<Stage> {
    Some(match status {
        "Pulling fs layer" | "Waiting" => Stage::Known,
        "Downloading" => Stage::Receiving,
        "Verifying Checksum" | "Download complete" => Stage::Received,
        "Extracting" => Stage::Unpacking,
        "Pull complete" | "Already exists" => Stage::Done,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::ProgressDetail;

    fn said(id: &str, status: &str, current: i64, total: i64) -> CreateImageInfo {
        let progress_detail = Some(ProgressDetail { current: Some(current), total: Some(total) });
        CreateImageInfo { id: Some(id.into()), status: Some(status.into()), progress_detail, ..Default::default() }
    }

    #[test]
    fn layers_add_up() {
        let mut layers = Layers::default();
        assert!(!layers.take(&said("bookworm", "Pulling from library/debian", 0, 0)));
        for (id, status, current, total) in [
            ("a", "Already exists", 0, 0),
            ("b", "Pulling fs layer", 0, 0),
            ("c", "Pulling fs layer", 0, 0),
            ("b", "Downloading", 10, 100),
            ("c", "Downloading", 5, 50),
            ("c", "Download complete", 0, 0),
        ] {
            assert!(layers.take(&said(id, status, current, total)), "{id} {status}");
        }
        let half = Pull { layers_done: 1, layers_total: 3, bytes_received: 60, bytes_total: 150 };
        assert_eq!(layers.sum(), half);
        for (id, status, current, total) in
            [("b", "Download complete", 0, 0), ("b", "Extracting", 7, 100), ("b", "Pull complete", 0, 0)]
        {
            assert!(layers.take(&said(id, status, current, total)), "{id} {status}");
        }
        assert!(layers.take(&said("c", "Pull complete", 0, 0)));
        assert_eq!(layers.sum(), Pull { layers_done: 3, layers_total: 3, bytes_received: 150, bytes_total: 150 });
    }

    #[test]
    fn trying_again_is_no_progress() {
        let mut layers = Layers::default();
        assert!(layers.take(&said("a", "Downloading", 10, 100)));
        assert!(!layers.take(&said("a", "Retrying in 5 seconds", 0, 0)));
        assert!(!layers.take(&said("a", "Downloading", 10, 100)));
        assert!(!layers.take(&said("a", "Downloading", 3, 100)));
        assert!(layers.take(&said("a", "Downloading", 11, 100)));
    }
}
