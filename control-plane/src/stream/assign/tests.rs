use super::*;

fn targets(count: u128) -> Vec<Target> {
    (1..=count).map(|at| Target { uid: Uid(uuid::Uuid::from_u128(at)), stdio: at % 5 == 0 }).collect()
}

fn probers<'a>(names: &[&'a str]) -> Vec<Prober<'a>> {
    names.iter().map(|name| Prober { name, allow_stdio: true }).collect()
}

#[test]
fn every_server_has_a_prober_and_the_load_is_spread() {
    let assigned = assign(&targets(1_000), &probers(&["a", "b", "c", "d"]));
    assert_eq!(assigned.len(), 1_000);
    for plane in ["a", "b", "c", "d"] {
        let share = assigned.values().filter(|name| **name == plane).count();
        assert!((180..320).contains(&share), "{plane} has {share}");
    }
}

#[test]
fn a_plane_that_goes_moves_only_its_own_servers_and_one_that_comes_takes_only_its_own() {
    let before = assign(&targets(500), &probers(&["a", "b", "c"]));
    let without = assign(&targets(500), &probers(&["a", "c"]));
    for (uid, plane) in &before {
        assert!(*plane == "b" || without[uid] == *plane);
    }
    let with = assign(&targets(500), &probers(&["c", "x", "a", "b"]));
    for (uid, plane) in &with {
        assert!(*plane == "x" || before[uid] == *plane);
    }
}

#[test]
fn child_processes_go_to_planes_that_allow_them_or_to_none() {
    let mut planes = probers(&["a", "b"]);
    planes[0].allow_stdio = false;
    let stdio: Vec<Uid> =
        targets(100).iter().filter(|target| target.stdio).map(|target| target.uid).collect();
    let assigned = assign(&targets(100), &planes);
    assert!(stdio.iter().all(|uid| assigned[uid] == "b"));
    assert_eq!(assigned.len(), 100);
    planes[1].allow_stdio = false;
    let assigned = assign(&targets(100), &planes);
    assert!(stdio.iter().all(|uid| !assigned.contains_key(uid)));
    assert_eq!(assigned.len(), 80);
    assert!(assign(&targets(3), &[]).is_empty());
}
