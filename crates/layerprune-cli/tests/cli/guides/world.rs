//! What a user has: a small model, and the same small pictures in every format, under the names that the pages give them.

use std::fs::{self, File};
use std::io::Cursor;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use image::{ImageFormat, RgbImage};
use layerprune::stats::SplitMix;
use layerprune_testing::resnet;
use npyz::WriterBuilder;
use npyz::npz::NpzWriter;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use crate::place::Place;

const CLASSES: [&str; 10] = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Images of each class in the two parts; those of training fill a batch of 128.
const PARTS: [(&str, usize); 2] = [("train", 16), ("test", 3)];

const SIDE: u32 = 32;

/// Makes what a page calls `name` in `folder`.
pub(super) fn make(name: &str, folder: &Path) {
    let path = folder.join(name);
    match name {
        "model.onnx" => fs::write(path, trained()).unwrap(),
        "photonet.onnx" => resnet(8, [3, 224, 224], 4, &[4], 2, 10).write(path).unwrap(),
        "photos" => image_folder(&path),
        "photos.csv" => table(&path),
        "cifar-10-batches-bin" => cifar(&path),
        "mnist" => idx(&path),
        "arrays.npz" => npz(&path),
        "parquet" => parquet(&path),
        "shards" => shards(&path),
        "net.py" | "train.py" | "export.py" => fs::write(path, super::read("export-pytorch.md").file(name)).unwrap(),
        _ => panic!("the page says that the user has `{name}`, which this test cannot make"),
    }
}

/// A net that has learned the pictures, since no normalisation can be told of one that has not.
fn trained() -> &'static [u8] {
    static MODEL: OnceLock<Vec<u8>> = OnceLock::new();
    MODEL.get_or_init(|| {
        let place = Place::with(&resnet(8, [3, 32, 32], 1, &[4, 8], 3, 10));
        image_folder(&place.path("photos"));
        place.ok("train net.onnx --data photos --normalize imagenet --epochs 12 --batch-size 9 --learning-rate 0.05 -o model.onnx");
        place.bytes("model.onnx")
    })
}

/// A picture, its class and its number within the part.
struct Picture {
    class: usize,
    number: usize,
    pixels: RgbImage,
}

/// The pictures of a part: colour tells the class, and no two are the same.
fn pictures(part: &str) -> Vec<Picture> {
    let (place, count) =
        PARTS.iter().enumerate().find_map(|(at, (name, count))| (*name == part).then_some((at, count))).unwrap();
    let mut random = SplitMix::new(place as u64);
    let all = (0..count * CLASSES.len()).map(|at| {
        let (class, number) = (at % CLASSES.len(), at / CLASSES.len());
        let pixels = RgbImage::from_fn(SIDE, SIDE, |x, y| {
            let base = [25 * class, 255 - 25 * class, 20 * (class % 3) + (x + y) as usize];
            image::Rgb(base.map(|base| (0.8 * base as f64 + 50.0 * random.uniform()) as u8))
        });
        Picture { class, number, pixels }
    });
    all.collect()
}

impl Picture {
    fn name(&self) -> String {
        format!("{}-{:03}", CLASSES[self.class], self.number)
    }

    fn encoded(&self, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        self.pixels.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// All red, then all green, then all blue.
    fn planes(&self) -> Vec<u8> {
        (0..3).flat_map(|channel| self.pixels.pixels().map(move |pixel| pixel.0[channel])).collect()
    }
}

fn image_folder(path: &Path) {
    for (part, _) in PARTS {
        for picture in pictures(part) {
            let folder = path.join(part).join(CLASSES[picture.class]);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(picture.name() + ".png"), picture.encoded(ImageFormat::Png)).unwrap();
        }
    }
}

fn table(path: &Path) {
    let rows = PARTS.iter().flat_map(|(part, _)| {
        pictures(part).into_iter().map(move |picture| {
            let class = CLASSES[picture.class];
            format!("photos/{part}/{class}/{}.png,{class},{part}\n", picture.name())
        })
    });
    fs::write(path, "path,label,split\n".to_owned() + &rows.collect::<String>()).unwrap();
}

fn cifar(path: &Path) {
    fs::create_dir(path).unwrap();
    let record = |picture: &Picture| [vec![picture.class as u8], picture.planes()].concat();
    let train = pictures("train");
    for (number, part) in train.chunks(train.len() / 5).enumerate() {
        let batch: Vec<u8> = part.iter().flat_map(record).collect();
        fs::write(path.join(format!("data_batch_{}.bin", number + 1)), batch).unwrap();
    }
    let test: Vec<u8> = pictures("test").iter().flat_map(record).collect();
    fs::write(path.join("test_batch.bin"), test).unwrap();
}

/// MNIST's format; gray is the red of the picture.
fn idx(path: &Path) {
    fs::create_dir(path).unwrap();
    let header = |axes: &[usize]| {
        let sizes = axes.iter().flat_map(|&size| (size as u32).to_be_bytes());
        [0, 0, 8, axes.len() as u8].into_iter().chain(sizes).collect::<Vec<u8>>()
    };
    for (part, prefix) in [("train", "train"), ("test", "t10k")] {
        let pictures = pictures(part);
        let side = SIDE as usize;
        let mut images = header(&[pictures.len(), side, side]);
        images.extend(pictures.iter().flat_map(|picture| picture.planes().into_iter().take(side * side)));
        let mut labels = header(&[pictures.len()]);
        labels.extend(pictures.iter().map(|picture| picture.class as u8));
        fs::write(path.join(format!("{prefix}-images-idx3-ubyte")), images).unwrap();
        fs::write(path.join(format!("{prefix}-labels-idx1-ubyte")), labels).unwrap();
    }
}

fn npz(path: &Path) {
    let mut file = NpzWriter::create(path).unwrap();
    for (part, _) in PARTS {
        let pictures = pictures(part);
        let count = pictures.len() as u64;
        let mut add = |name: &str, shape: &[u64], values: Vec<u8>| {
            let name = format!("{name}_{part}");
            let mut array =
                file.array(&name, Default::default()).unwrap().default_dtype().shape(shape).begin_nd().unwrap();
            array.extend(values).unwrap();
            array.finish().unwrap();
        };
        add("x", &[count, 3, SIDE.into(), SIDE.into()], pictures.iter().flat_map(Picture::planes).collect());
        add("y", &[count], pictures.iter().map(|picture| picture.class as u8).collect());
    }
}

/// As `datasets` writes it, without the metadata that names the classes.
fn parquet(path: &Path) {
    fs::create_dir(path).unwrap();
    let schema = "message schema { required group image { required binary bytes; } required int64 label; }";
    for (part, _) in PARTS {
        let pictures = pictures(part);
        let file = File::create(path.join(format!("{part}-00000-of-00001.parquet"))).unwrap();
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let mut writer = SerializedFileWriter::new(file, schema, Default::default()).unwrap();
        let mut rows = writer.next_row_group().unwrap();
        let bytes: Vec<ByteArray> = pictures.iter().map(|picture| picture.encoded(ImageFormat::Png).into()).collect();
        let mut column = rows.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&bytes, None, None).unwrap();
        column.close().unwrap();
        let labels: Vec<i64> = pictures.iter().map(|picture| picture.class as i64).collect();
        let mut column = rows.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&labels, None, None).unwrap();
        column.close().unwrap();
        rows.close().unwrap();
        writer.close().unwrap();
    }
}

fn shards(path: &Path) {
    fs::create_dir(path).unwrap();
    for (part, _) in PARTS {
        let pictures = pictures(part);
        for (number, some) in pictures.chunks(pictures.len().div_ceil(2)).enumerate() {
            let mut shard = tar::Builder::new(File::create(path.join(format!("{part}-{number:03}.tar"))).unwrap());
            for picture in some {
                let class = picture.class.to_string().into_bytes();
                for (ending, bytes) in [("png", picture.encoded(ImageFormat::Png)), ("cls", class)] {
                    let mut header = tar::Header::new_gnu();
                    header.set_size(bytes.len() as u64);
                    header.set_mode(0o644);
                    shard.append_data(&mut header, format!("{}.{ending}", picture.name()), &bytes[..]).unwrap();
                }
            }
            shard.finish().unwrap();
        }
    }
}
