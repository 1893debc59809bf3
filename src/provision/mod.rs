//! Provisioning: plan (pure), apply (I/O), naming, rotation, proof.
