// Takes a photo with the camera of the device.

const dialog = document.getElementById("camera");
const video = dialog.querySelector("video");
const problem = dialog.querySelector(".problem");
const shutter = dialog.querySelector("[value=taken]");

/** Open the camera and hand over each photo as a file; without a camera in the page, choose one of the device's. */
export function offerCamera(opener, chooser, add) {
  opener.addEventListener("click", async () => {
    // Browsers give a page the camera over HTTPS and on this machine only. A phone's own camera app always works.
    if (!navigator.mediaDevices?.getUserMedia) {
      chooser.click();
      return;
    }
    dialog.returnValue = "";
    problem.hidden = true;
    shutter.disabled = true;
    dialog.showModal();
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      if (!dialog.open) stop(stream); // closed while the browser asked
      video.srcObject = stream;
      await video.play();
      shutter.disabled = false;
    } catch (error) {
      if (!dialog.open) return;
      problem.hidden = false;
      problem.textContent = error.name === "NotAllowedError"
        ? "The browser does not allow this page to use the camera. Allow it in the settings of this address."
        : "No camera is found, or another program uses it.";
    }
  });
  dialog.addEventListener("close", async () => {
    const taken = dialog.returnValue === "taken" && video.videoWidth > 0;
    const photo = taken ? await capture() : null;
    if (video.srcObject) stop(video.srcObject);
    video.srcObject = null;
    if (photo) add([photo]);
  });
}

async function capture() {
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
  return new File([blob], `camera ${new Date().toLocaleTimeString()}.jpg`, { type: "image/jpeg" });
}

function stop(stream) {
  for (const track of stream.getTracks()) track.stop();
}
