#![allow(clippy::unwrap_used, clippy::panic, reason = "steps of tests")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use super::*;

struct Tells(Arc<Mutex<Option<thread::ThreadId>>>);

impl Drop for Tells {
    fn drop(&mut self) {
        *self.0.lock().unwrap() = Some(thread::current().id());
    }
}

#[tokio::test]
async fn work_is_done_in_its_order_on_one_thread_and_below_the_others() {
    let background = Background::start("test").unwrap();
    let count = Arc::new(AtomicU32::new(0));
    let work = |at: u32| {
        let count = Arc::clone(&count);
        background.run(move || (at, count.fetch_add(1, Ordering::SeqCst), thread::current().id()))
    };
    let done = futures_of(work(0), work(1), work(2)).await;
    let own = done.0.2;
    for (asked, (at, place, thread)) in [done.0, done.1, done.2].into_iter().enumerate() {
        assert_eq!((at as usize, place as usize, thread), (asked, asked, own));
    }
    assert_ne!(own, thread::current().id());
    #[cfg(target_os = "linux")]
    {
        let below = background.run(|| rustix::process::getpriority_process(None).unwrap()).await.unwrap();
        assert_eq!(below - rustix::process::getpriority_process(None).unwrap(), BELOW);
    }
}

async fn futures_of<T>(
    one: impl Future<Output = Result<T, Failed>>,
    two: impl Future<Output = Result<T, Failed>>,
    three: impl Future<Output = Result<T, Failed>>,
) -> (T, T, T) {
    let (one, two, three) = tokio::join!(one, two, three);
    (one.unwrap(), two.unwrap(), three.unwrap())
}

#[tokio::test]
async fn a_panic_is_told_and_the_next_work_is_done() {
    let background = Background::start("test").unwrap();
    let failed = background.run(|| -> u32 { panic!("the {} is broken", "vase") }).await.unwrap_err();
    assert_eq!(failed.to_string(), "work in the background failed: the vase is broken");
    assert_eq!(background.run(|| 7).await, Ok(7));
}

#[tokio::test]
async fn work_goes_on_when_nobody_waits_for_it() {
    let background = Background::start("test").unwrap();
    let ((begin, begun), (done, seen)) = (oneshot::channel(), oneshot::channel());
    let (go, went) = std::sync::mpsc::channel();
    let asked = background.clone();
    let waiting = tokio::spawn(async move {
        let work = asked.run(move || {
            begin.send(()).unwrap();
            went.recv().unwrap();
            done.send(()).unwrap();
        });
        work.await
    });
    begun.await.unwrap();
    waiting.abort();
    go.send(()).unwrap();
    seen.await.unwrap();
}

#[tokio::test]
async fn what_is_retired_is_taken_apart_there_and_once_nobody_holds_it() {
    let background = Background::start("test").unwrap();
    let own = background.run(|| thread::current().id()).await.unwrap();
    let gone = Arc::<Mutex<Option<thread::ThreadId>>>::default();
    let old = Arc::new(Tells(Arc::clone(&gone)));
    background.retire(Arc::clone(&old));
    background.run(|| ()).await.unwrap();
    tokio::time::sleep(3 * LOOK).await;
    assert_eq!(*gone.lock().unwrap(), None, "somebody holds it");
    drop(old);
    tokio::time::timeout(Duration::from_secs(10), async {
        while gone.lock().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(*gone.lock().unwrap(), Some(own));
}

#[tokio::test]
async fn no_more_wait_than_the_bound() {
    let background = Background::start("test").unwrap();
    let held: Vec<Arc<u32>> = (0..200).map(Arc::new).collect();
    held.iter().for_each(|old| background.retire(Arc::clone(old)));
    assert_eq!(held.iter().filter(|old| Arc::strong_count(old) == 2).count(), MAX_RETIRED);
}
