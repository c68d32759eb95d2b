//! `tallsbi refine` and `tallsbi diagnose posterior-sbc` from a user's point of view.

mod common;

use common::Place;

#[test]
fn a_refined_posterior_is_the_exact_one_and_the_model_says_where_it_ends() {
    let place = Place::new();
    place.run("observe sir --from-prior -n 30 -o obs.h5 --seed 1 -q");
    place.run("reference sir --observations obs.h5 -o reference.nc -q");
    let refine = "refine --task sir --observations obs.h5 --budget 8000 -q";
    let result = place.json(&format!("{refine} -o refined.safetensors --posterior refined.nc"));
    assert!(result["simulations"].as_u64().unwrap() <= 8000, "{result}");
    let exact = place.json("diagnose c2st refined.nc --reference reference.nc -q");
    assert!(exact["value"].as_f64().unwrap() < 0.58, "{exact} {result}");
    // Same seed, same bytes, for any number of threads.
    place.run(&format!("{refine} -o again.safetensors --posterior again.nc --threads 3"));
    assert_eq!(place.digest("refined.nc"), place.digest("again.nc"));
    // The file is a model like others, from which a second refinement starts.
    assert!(place.run("inspect refined.safetensors").contains("refined model for task \"sir\""));
    place.run("sample refined.safetensors --observations obs.h5 -o sampled.nc -q");
    let check = place.json("diagnose posterior-sbc refined.safetensors --observations obs.h5 --pairs 50 --draws 50 -q");
    assert!(check["p_value"].as_f64().unwrap() > 1e-3, "{check}");
    place.run("observe sir --from-prior -n 30 -o other.h5 --seed 5 -q");
    let output = place.command("sample refined.safetensors --observations other.h5 -o other.nc").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("edge of what the refined model knows"), "{said}");
}

#[test]
fn mistakes_are_told_before_anything_is_simulated() {
    let place = Place::new();
    place.run("observe slcp --from-prior -n 2 -o obs.h5 -q");
    let refine = "refine --observations obs.h5 -o refined.safetensors -q";
    place.fails(refine, 2, "name the one to simulate");
    place.fails(&format!("{refine} --task sir"), 1, "sir has 10");
    place.fails(&format!("{refine} --task slcp --rounds 0"), 2, "auto");
    place.fails(&format!("{refine} --task slcp --tolerance 0"), 2, "tolerance");
    std::fs::write(place.at("options.toml"), "widht = 2.0\n").unwrap();
    place.fails(&format!("{refine} --task slcp --config options.toml"), 2, "widht");
    assert!(!place.at("refined.safetensors").exists());
}
