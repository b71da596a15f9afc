//! Failed calls, and calls without effect, leave no trace.

/// Asserts that a call fails with this fault and changes nothing.
macro_rules! refused {
    ($registry:expr, $fault:pat, $call:expr $(,)?) => {{
        let before = $registry.snapshot().await.unwrap();
        let outcome = $call.await;
        assert!(
            matches!(outcome, Err($fault)),
            "{} gave {outcome:?}, not {}",
            stringify!($call),
            stringify!($fault),
        );
        assert_unchanged!($registry, before);
    }};
}

/// Asserts that a call succeeds and changes nothing.
macro_rules! no_change {
    ($registry:expr, $call:expr $(,)?) => {{
        let before = $registry.snapshot().await.unwrap();
        let outcome = $call.await.unwrap();
        assert_unchanged!($registry, before);
        outcome
    }};
}

macro_rules! assert_unchanged {
    ($registry:expr, $before:expr) => {{
        let after = $registry.snapshot().await.unwrap();
        assert_eq!(after.entities, $before.entities);
        assert_eq!(after.seq, $before.seq);
        assert_eq!($registry.changes($before.seq, 1).await.unwrap(), []);
    }};
}
