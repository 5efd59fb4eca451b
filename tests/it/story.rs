//! Story 1.3, from metal, again, and after a machine was lost.

use crate::lab::Lab;

#[test]
fn from_metal_to_two_control_planes() {
    let lab = Lab::new();
    lab.bootstrap(["run", "story", "1.3", "--yes"]).success();
}
