# Writes OUTPUT, a C++ file that holds every recipe of FOLDER. Run with cmake -P.
file(GLOB recipes ${FOLDER}/*.yaml)
list(SORT recipes)
set(rows "")
foreach(recipe IN LISTS recipes)
  get_filename_component(name "${recipe}" NAME_WE)
  file(READ "${recipe}" text)
  string(APPEND rows "    {\"${name}\", R\"recipe(${text})recipe\"},\n")
endforeach()
file(WRITE ${OUTPUT} "#include \"lib/recipe/shipped.h\"

namespace nemo {

std::span<const ShippedRecipe> shipped_recipes() {
  static constexpr ShippedRecipe kRecipes[] = {
${rows}  };
  return kRecipes;
}

}  // namespace nemo
")
