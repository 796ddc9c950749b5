use super::*;

fn targets(count: u128) -> Vec<Target> {
    (1..=count)
        .map(|at| Target {
            uid: Uid(uuid::Uuid::from_u128(at)),
            stdio: at % 5 == 0,
            served_by: Arc::default(),
        })
        .collect()
}

fn probers<'a>(names: &[&'a str]) -> Vec<Prober<'a>> {
    static NONE: PlaneLabels = PlaneLabels::new();
    names.iter().map(|name| Prober { name, allow_stdio: true, labels: &NONE }).collect()
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

#[test]
fn a_server_of_a_zone_is_probed_by_a_plane_that_serves_the_zone_or_by_none() {
    let labels = |region: &str| PlaneLabels::from([("region".to_owned(), region.to_owned())]);
    let (eu, us) = (labels("eu"), labels("us"));
    let planes = [
        Prober { name: "a", allow_stdio: true, labels: &us },
        Prober { name: "b", allow_stdio: true, labels: &eu },
    ];
    let of = |served_by: Vec<PlaneLabels>| -> Vec<Target> {
        let served_by: Arc<[PlaneLabels]> = served_by.into();
        targets(50).into_iter().map(|target| Target { served_by: Arc::clone(&served_by), ..target }).collect()
    };
    let assigned = assign(&of(vec![eu.clone()]), &planes);
    assert!(assigned.len() == 50 && assigned.values().all(|name| *name == "b"));
    assert!(assign(&of(vec![labels("asia")]), &planes).is_empty());
    assert_eq!(assign(&of(vec![eu.clone(), us.clone()]), &planes), assign(&of(vec![]), &planes));
}
